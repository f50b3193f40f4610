// Tells systemd how the service fares (sd_notify(3)): ready, in words, alive, stopping. Nothing runs where no manager asks.
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { CommandRunner } from '../kernel/command.js';
import { loadNativeLibrary, type NativeLibrary } from '../kernel/netlink/library.js';
import { sendDatagram } from '../kernel/notify-socket.js';

/** What a service manager asks of us. */
export interface NotifyRequest {
  /** `/path`, or `@name` without a file. */
  readonly socket: string;
  /** It ends us when it hears nothing for so long; 0 = never. */
  readonly watchdogMs: number;
}

/**
 * Takes the request out of the environment, so that no tool or broker that we start speaks in our name. null = nobody
 * asks.
 */
export function takeNotifyRequest(environment: NodeJS.ProcessEnv, pid: number): NotifyRequest | null {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: interval, WATCHDOG_PID: watched } = environment;
  delete environment['NOTIFY_SOCKET'];
  delete environment['WATCHDOG_USEC'];
  delete environment['WATCHDOG_PID'];
  if (socket === undefined || !/^[/@]./.test(socket)) return null;
  const isOurs = watched === undefined || watched === String(pid);
  const watchdogMs = isOurs ? Math.floor(Number(interval ?? 0) / 1000) : 0;
  return { socket, watchdogMs: Number.isFinite(watchdogMs) ? watchdogMs : 0 };
}

/** Sends one message; may reject. */
export type Notify = (text: string) => Promise<void>;

/** By the native library; without it systemd's own tool is started for each message. */
export function notifyBy(
  { socket }: NotifyRequest,
  runner: CommandRunner,
  library: NativeLibrary | null = loadNativeLibrary().library,
): Notify {
  return async (text) => {
    if (library !== null) {
      sendDatagram(library, socket, text);
      return;
    }
    const argv = ['env', `NOTIFY_SOCKET=${socket}`, 'systemd-notify', `--pid=${process.pid}`, ...text.split('\n')];
    const { exitCode, stderr } = await runner.run({ argv, timeoutMs: 5_000 });
    if (exitCode !== 0) throw new Error(`systemd-notify ended with ${exitCode}: ${stderr.trim()}`);
  };
}

/** What /liveness and /readiness say. */
export interface ServiceHealth {
  readonly isLive: boolean;
  readonly isReady: boolean;
  readonly detail: string;
}

/** Looks so often, or twice within the watchdog's time if that is less. */
const LOOK_MS = 500;
const MIN_LOOK_MS = 10;

/** A service that is watched. */
export class ServiceNotifier {
  readonly #notify: Notify;
  readonly #log: Logger;
  readonly #watchdogMs: number;
  readonly #health: () => ServiceHealth;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  #isReady = false;
  #status = '';
  #lastSignMs = Number.NEGATIVE_INFINITY;
  #hasFailed = false;

  /** Begins at once. `now` is a clock in milliseconds that never goes back. */
  constructor(request: NotifyRequest, notify: Notify, log: Logger, health: () => ServiceHealth, now: () => number) {
    this.#notify = notify;
    this.#log = log;
    this.#watchdogMs = request.watchdogMs;
    this.#health = health;
    this.#now = now;
    const often = this.#watchdogMs === 0 ? LOOK_MS : Math.max(MIN_LOOK_MS, Math.floor(this.#watchdogMs / 4));
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, often)).unref();
    this.#look();
  }

  /** The service is about to end. */
  stop(): void {
    clearInterval(this.#timer);
    this.#send('STOPPING=1\nSTATUS=stopping; the kernel keeps what is programmed');
  }

  #look(): void {
    const { isLive, isReady, detail } = this.#health();
    const lines: string[] = [];
    // Ready is said once; what comes later is in the status.
    if (isReady && !this.#isReady) {
      this.#isReady = true;
      lines.push('READY=1');
    }
    if (detail !== this.#status) {
      this.#status = detail;
      lines.push(`STATUS=${detail.replaceAll('\n', ' ')}`);
    }
    // This timer shows that the process turns; a hung apply shows in liveness, and then the sign is withheld.
    if (this.#watchdogMs > 0 && isLive && this.#now() - this.#lastSignMs >= this.#watchdogMs / 2 - this.#slack()) {
      this.#lastSignMs = this.#now();
      lines.push('WATCHDOG=1');
    }
    if (lines.length > 0) this.#send(lines.join('\n'));
  }

  /** A look that comes just before half of the time must not wait for the next one. */
  #slack(): number {
    return Math.min(LOOK_MS, this.#watchdogMs / 4) / 2;
  }

  #send(text: string): void {
    this.#notify(text).catch((error: unknown) => {
      // Once: a manager that is gone would fill the log.
      if (!this.#hasFailed) this.#log.warn('The service manager cannot be told', { error: errorMessage(error) });
      this.#hasFailed = true;
    });
  }
}
