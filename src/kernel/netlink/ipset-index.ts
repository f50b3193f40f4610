// Asks the kernel for the number of an IP set, which rules of iptables name it by (struct ip_set_req_get_set_family of
// include/uapi/linux/netfilter/ipset/ip_set.h), as libxt_set does.
import type { NativeLibrary } from './library.js';

const AF_INET = 2;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_RAW = 255;
const SOL_IP = 0;
const SO_IP_SET = 83;
const GET_WITH_FAMILY = 8;
/** The oldest version that the kernel answers to. */
const VERSION = 6;
const REQUEST = { operation: 0, version: 4, family: 8, set: 12, length: 44 } as const;
const NAME_LENGTH = 32;
const NO_SUCH_SET = 0xffff;
const FAMILIES: Readonly<Record<number, 4 | 6 | 'any'>> = { 0: 'any', 2: 4, 10: 6 };

/** A set as rules see it. */
export interface IpsetNumber {
  readonly index: number;
  /** What the set holds addresses of; `any` holds none. */
  readonly family: 4 | 6 | 'any';
}

/** Looks sets up over one socket, opened when first needed. */
export class IpsetIndex {
  readonly #library: NativeLibrary;
  /** For one question after the other. */
  readonly #request = Buffer.alloc(REQUEST.length);
  readonly #length = Buffer.alloc(4);
  #fd = -1;

  constructor(library: NativeLibrary) {
    this.#library = library;
  }

  /** Null when there is no such set, or the kernel does not answer. A number is valid until the set is destroyed. */
  find(name: string): IpsetNumber | null {
    if (this.#fd < 0) this.#fd = this.#library.socket(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
    if (this.#fd < 0 || name.length >= NAME_LENGTH) return null;
    const request = this.#request.fill(0);
    request.writeUInt32LE(GET_WITH_FAMILY, REQUEST.operation);
    request.writeUInt32LE(VERSION, REQUEST.version);
    request.write(name, REQUEST.set, 'latin1');
    this.#length.writeUInt32LE(request.length);
    if (this.#library.getsockopt(this.#fd, SOL_IP, SO_IP_SET, request, this.#length) < 0) return null;
    const index = request.readUInt16LE(REQUEST.set);
    const family = FAMILIES[request.readUInt32LE(REQUEST.family)];
    return index === NO_SUCH_SET || family === undefined ? null : { index, family };
  }

  close(): void {
    if (this.#fd >= 0) this.#library.close(this.#fd);
    this.#fd = -1;
  }
}
