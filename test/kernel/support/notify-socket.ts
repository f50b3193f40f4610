// A service manager's end of sd_notify: a datagram socket that keeps what it is told.
import { loadNativeLibrary, type NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { unixAddress } from '../../../src/kernel/notify-socket.js';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;

/** Listens on `/path` or `@name` until `close`. */
export class NotifySocket {
  readonly messages: string[] = [];
  readonly #library: NativeLibrary;
  readonly #fd: number;
  readonly #poll: { stop(): void };

  constructor(path: string) {
    const { library, reason } = loadNativeLibrary();
    if (library === null) throw new Error(reason);
    this.#library = library;
    this.#fd = library.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
    const address = unixAddress(path);
    if (library.bind(this.#fd, address, address.length) < 0) throw new Error(`bind ${path}: errno ${library.errno()}`);
    const buffer = Buffer.alloc(65_536);
    this.#poll = library.poll(this.#fd, () => {
      for (;;) {
        const length = library.recv(this.#fd, buffer, buffer.length, 0);
        if (length <= 0) return;
        this.messages.push(buffer.toString('utf8', 0, length));
      }
    });
  }

  /** Every line so far, in order. */
  get lines(): string[] {
    return this.messages.flatMap((message) => message.split('\n'));
  }

  close(): void {
    this.#poll.stop();
    this.#library.close(this.#fd);
  }
}
