// Where news of links and local addresses come from: the seam, and its form that reads an `ip monitor` child.
import type { Clock, Timer } from '../base/clock.js';
import { canonicalCidr } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { ProcessStream, StartProcessStream } from '../kernel/process-stream.js';

/** One piece of news, in the order in which the kernel gave it. */
export type LinkEvent =
  | { readonly kind: 'link'; readonly ifindex: number; readonly name: string; readonly isRunning: boolean }
  | { readonly kind: 'link-gone'; readonly ifindex: number; readonly name: string }
  /** A route of type local in the local table: an address of the node. `dst` with length. Sources know index or name. */
  | ({ readonly kind: 'address'; readonly dst: string; readonly isGone: boolean } & (
      | { readonly interfaceName: string }
      | { readonly ifindex: number }
    ))
  /** News may have been lost, or the source has just begun: only a full listing tells the state. */
  | { readonly kind: 'lost' };

/** A source of news. It never ends by itself: after a failure it starts again and says `lost`. */
export interface LinkEventSource {
  start(onEvent: (event: LinkEvent) => void): void;
  stop(): void;
}

const LINK_LINE = /^(Deleted )?(\d+): ([^\s:]+): <([^>]*)>/;
const LOCAL_ROUTE_LINE = /^(Deleted )?(?:local|2) (\S+) dev (\S+) table (?:local|255)\b/;

/** Name before the `@peer` that iproute2 appends. */
function withoutPeer(name: string): string {
  const at = name.lastIndexOf('@');
  return at > 0 ? name.slice(0, at) : name;
}

/** One line of `ip -o monitor link route`; null for everything that is of no concern. */
export function readMonitorLine(line: string): LinkEvent | null {
  const link = LINK_LINE.exec(line);
  if (link !== null) {
    const [, deleted, index = '', fullName = '', flagText = ''] = link;
    const ifindex = Number(index);
    const name = withoutPeer(fullName);
    if (deleted !== undefined) return { kind: 'link-gone', ifindex, name };
    const flags = flagText.split(',');
    // iproute2 shows IFF_RUNNING by the absence of NO-CARRIER on a link that is UP.
    return { kind: 'link', ifindex, name, isRunning: flags.includes('UP') && !flags.includes('NO-CARRIER') };
  }
  const route = LOCAL_ROUTE_LINE.exec(line);
  if (route === null) return null;
  const [, deleted, rawDst = '', interfaceName = ''] = route;
  const dst = canonicalCidr(rawDst);
  return dst === null ? null : { kind: 'address', interfaceName, dst, isGone: deleted !== undefined };
}

/** `-N` numbers instead of names, so that no host's /etc/iproute2 matters; `-o` one line each. */
const MONITOR_ARGV = ['ip', '-N', '-o', 'monitor', 'link', 'route'] as const;

const RESPAWN_DELAY_MS = 1_000;

/** The child gives no sign when it has subscribed: what happened before that is found by one more listing. */
const SETTLE_MS = 500;

/** Said at the start for each name in /run/netns that no namespace is behind any more; CNI plugins leave such names. */
const HARMLESS_LINE = /Peer netns reference is invalid/;

/** News from an `ip monitor` child, started again a second after it ends. */
export class MonitorProcessSource implements LinkEventSource {
  readonly #startStream: StartProcessStream;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #stream: ProcessStream | null = null;
  #timer: Timer | null = null;
  #onEvent: (event: LinkEvent) => void = () => undefined;
  #stopped = false;

  constructor(options: {
    readonly startStream: StartProcessStream;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#startStream = options.startStream;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  start(onEvent: (event: LinkEvent) => void): void {
    this.#onEvent = onEvent;
    this.#spawn();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#stream?.stop();
  }

  #spawn(): void {
    this.#stream = this.#startStream(MONITOR_ARGV, {
      onLine: (line) => {
        const event = readMonitorLine(line);
        if (event !== null && !this.#stopped) this.#onEvent(event);
      },
      // The tool says here that its socket overflowed, and goes on.
      onErrorLine: (line) => {
        if (HARMLESS_LINE.test(line)) return;
        this.#logger.warn('Interface monitor: news may have been lost, listing again', { line: line.slice(0, 200) });
        if (!this.#stopped) this.#onEvent({ kind: 'lost' });
      },
      onExit: (reason) => this.#onExit(reason),
    });
    this.#onEvent({ kind: 'lost' });
    this.#setTimer(SETTLE_MS, () => this.#onEvent({ kind: 'lost' }));
  }

  #onExit(reason: string): void {
    this.#stream = null;
    if (this.#stopped) return;
    this.#logger.warn('Interface monitor child is gone, starting another', { reason });
    this.#setTimer(RESPAWN_DELAY_MS, () => this.#spawn());
  }

  #setTimer(delayMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(delayMs, callback);
  }
}
