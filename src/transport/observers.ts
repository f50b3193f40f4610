// Lets others watch a session on a unix socket of its own: whoever connects gets what the control plane has said so far as
// messages, then every message as it comes, in Felix's frames and without secrets. The session never waits for a watcher.
import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../base/logger.js';
import { encodeFrame } from '../protocol/frame.js';
import { encodeToDataplane } from '../protocol/messages.js';
import type { Session, ToDataplanePayload } from '../protocol/session.js';
import { listenOnUnixSocket } from './listening.js';
import { MessageStore } from './message-store.js';
import { redact } from './redaction.js';

/** The last frame is no message but a text: this byte, which no message begins with, then one of the two, then words. */
const TEXT_MARK = 0x00;
/** Why a stream to a watcher ends: the session is over, or the watcher was too slow. */
export type ObserverEnd = { readonly kind: 'over' | 'dropped'; readonly text: string };

/** Messages that may wait for a watcher beyond the snapshot. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** Messages that are encoded before other work gets its turn. */
const MESSAGES_PER_TURN = 64;
/** Longest time that a watcher has to read the last words. */
const LAST_WORDS_MS = 5_000;
const MAX_OBSERVERS = 4;
/** Messages that were sent to a watcher and are still in its queue. */
const KEPT_SENT = 256;

/** The text of a last frame; null for a message. */
export function endOf(bytes: Uint8Array): ObserverEnd | null {
  if (bytes[0] !== TEXT_MARK) return null;
  return { kind: bytes[1] === 0 ? 'over' : 'dropped', text: Buffer.from(bytes.subarray(2)).toString('utf8') };
}

function endFrame({ kind, text }: ObserverEnd): Buffer {
  return encodeFrame(Buffer.concat([Buffer.from([TEXT_MARK, kind === 'over' ? 0 : 1]), Buffer.from(text)]));
}

class Observer {
  readonly #socket: Socket;
  readonly #maxWaitingBytes: number;
  #queue: { readonly payload: ToDataplanePayload; readonly bytes: number }[] = [];
  #next = 0;
  #waitingBytes = 0;
  #sequence = 0n;
  #isRunning = false;
  #end: ObserverEnd | null = null;

  constructor(socket: Socket, maxWaitingBytes: number) {
    this.#socket = socket;
    this.#maxWaitingBytes = maxWaitingBytes;
    socket.on('drain', () => this.#run());
    // It says nothing; what it says all the same is not kept.
    socket.resume();
  }

  /** Queues a message; false when too much waits, and then nothing more is to be added. */
  add(payload: ToDataplanePayload, bytes: number): boolean {
    this.#queue.push({ payload, bytes });
    this.#waitingBytes += bytes;
    if (this.#waitingBytes > this.#maxWaitingBytes) return false;
    this.#run();
    return true;
  }

  /** Sends what waits, then why it ends. */
  finish(text: string): void {
    this.#end = { kind: 'over', text };
    this.#run();
  }

  /** Forgets what waits. */
  drop(text: string): void {
    this.#queue = [];
    this.#next = 0;
    this.#end = { kind: 'dropped', text };
    this.#sayEnd();
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(() => {
      this.#isRunning = false;
      for (let count = 0; count < MESSAGES_PER_TURN; count += 1) {
        if (this.#socket.destroyed || this.#socket.writableNeedDrain || this.#socket.writableEnded) return;
        const item = this.#queue[this.#next];
        if (item === undefined) {
          this.#queue = [];
          this.#next = 0;
          if (this.#end !== null) this.#sayEnd();
          return;
        }
        this.#next += 1;
        this.#waitingBytes -= item.bytes;
        // A watcher that keeps up, but never quite, would keep all that it was sent.
        if (this.#next >= KEPT_SENT) {
          this.#queue.splice(0, this.#next);
          this.#next = 0;
        }
        this.#socket.write(encodeFrame(encodeToDataplane(redact(item.payload), this.#sequence)));
        this.#sequence += 1n;
      }
      this.#run();
    });
  }

  #sayEnd(): void {
    if (this.#end === null || this.#socket.writableEnded) return;
    this.#socket.end(endFrame(this.#end));
    setTimeout(() => this.#socket.destroy(), LAST_WORDS_MS).unref();
  }
}

/** Options of a hub. */
export interface ObserverHubOptions {
  readonly logger: Logger;
  /** Default 64 MiB. */
  readonly maxWaitingBytes?: number;
}

/** Sessions, one after the other, and those who watch. A watcher sees one session, from where it stands to its end. */
export class ObserverHub {
  readonly #options: ObserverHubOptions;
  readonly #observers = new Set<Observer>();
  #store: MessageStore | null = null;
  #server: Server | null = null;

  constructor(options: ObserverHubOptions) {
    this.#options = options;
  }

  /** Listens for watchers on a unix socket that only our own user and root can use. Returns its address. */
  async listen(path: string): Promise<string> {
    const server = createServer((socket) => this.#accept(socket));
    server.maxConnections = MAX_OBSERVERS;
    this.#server = server;
    return await listenOnUnixSocket(server, path);
  }

  /** The same session, watched. */
  watch(session: Session): Session {
    const store = new MessageStore();
    this.#store = store;
    void session.closed.then(() => {
      if (this.#store === store) this.#sessionIsOver();
    });
    return {
      description: session.description,
      closed: session.closed,
      get sendBacklog() {
        return session.sendBacklog;
      },
      start: (handler) =>
        session.start((payload, origin) => {
          store.add(payload);
          if (this.#store === store) this.#tell(payload, origin.sizeBytes);
          handler(payload, origin);
        }),
      pause: (reason) => session.pause(reason),
      resume: () => session.resume(),
      send: (payload) => session.send(payload),
      close: (flushMs) => session.close(flushMs),
    };
  }

  close(): void {
    this.#server?.close();
    this.#sessionIsOver('the service ends');
  }

  #accept(socket: Socket): void {
    const { logger, maxWaitingBytes = MAX_WAITING_BYTES } = this.#options;
    const observer = new Observer(socket, maxWaitingBytes);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#observers.delete(observer);
      logger.info('A recorder is gone', { recorders: this.#observers.size });
    });
    this.#observers.add(observer);
    logger.info('A recorder connected', { recorders: this.#observers.size });
    // State that is kept anyway: only what comes on top is counted.
    for (const payload of this.#store?.snapshot() ?? []) observer.add(payload, 0);
  }

  #tell(payload: ToDataplanePayload, bytes: number): void {
    for (const observer of this.#observers) {
      if (observer.add(payload, bytes)) continue;
      this.#observers.delete(observer);
      const text = `it reads too slowly: more than ${this.#options.maxWaitingBytes ?? MAX_WAITING_BYTES} bytes wait for it`;
      this.#options.logger.warn('A recorder is dropped', { reason: text });
      observer.drop(text);
    }
  }

  #sessionIsOver(text = 'the control plane is gone; what it said stays in force'): void {
    this.#store = null;
    for (const observer of this.#observers) observer.finish(text);
    this.#observers.clear();
  }
}
