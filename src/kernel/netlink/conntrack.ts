// Connection tracking by ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h): deletes the flows of addresses.
// A few addresses are left to the kernel, which walks its table for each; one listing serves any number of addresses. The
// conntrack tool lists the whole table for each of them.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NativeLibrary } from './library.js';
import { FLAG, forEachAttribute, MessageWriter, NFGENMSG_LENGTH, type ReceivedMessage } from './message.js';
import { addressBytes, afOf } from './rtnetlink.js';
import { NETLINK, netlinkError, NetlinkSocket } from './socket.js';

const SUBSYSTEM = 1 << 8;
const COMMAND = { get: 1, delete: 2 } as const;
const NESTED = 0x8000;
const CTA = { original: 1, reply: 2, id: 12, zone: 18, filter: 25 } as const;
/** Within CTA_FILTER: which parts of the tuple of a direction count. */
const FILTER = { [CTA.original]: 1, [CTA.reply]: 2 } as const;
const FILTER_SOURCE = 1;
const TUPLE_IP = 1;
const SOURCE = { 4: 1, 6: 3 } as const;
const ENOENT = 2;
/** The table may have hundreds of thousands of entries: so long at a time, then everything else has its turn. */
const SLICE_MS = 10;
const DELETIONS_PER_SEND = 256;
/**
 * Up to so many addresses the kernel is asked to delete by source: with 262,144 buckets 0.3 to 0.6 ms for each direction
 * of each, because it passes by empty buckets without their locks, and none at all where nothing is tracked. A listing
 * takes 6 ms before it has found anything.
 */
const MAX_FILTERED = 4;

/** What names one flow to the kernel: attribute type and bytes, copied from its listing. */
type FlowName = readonly (readonly [type: number, value: Buffer])[];

/** Flows by netlink. Calls must not overlap: one socket, one listing. */
export class ConntrackNetlink {
  readonly #socket: NetlinkSocket;
  /** The kernel deletes by filter (6.8 and later). */
  #hasFilters = true;

  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.netfilter);
  }

  /**
   * Deletes the flows that the addresses (all of `family`) started or answered: those whose source they are in one
   * direction or the other. @throws NetlinkError; some flows may be deleted then.
   */
  async deleteFlows(family: 4 | 6, addresses: Iterable<string>): Promise<void> {
    const sources: Buffer[] = [];
    for (const address of addresses) {
      const bytes = addressBytes(address);
      if (bytes !== null) sources.push(bytes);
    }
    const isFew = family === 4 && sources.length <= MAX_FILTERED;
    if (isFew && this.#hasFilters && (await this.#deleteBySource(sources))) return;
    await this.#deleteListed(family, new Set(sources.map((source) => source.toString('latin1'))));
  }

  /** Frees the socket. */
  close(): void {
    this.#socket.close();
  }

  /**
   * By the kernel's own walk, in a thread. False if it knows no filters or refuses them for another reason. IPv4 only:
   * for IPv6 the kernel (6.18) takes a filter for its opposite, and deletes the flows of everybody else.
   */
  async #deleteBySource(sources: readonly Buffer[]): Promise<boolean> {
    const expected = 2 * sources.length;
    if (expected === 0) return true;
    let sequence = this.#socket.takeSequences(expected);
    const writer = new MessageWriter(128 * expected);
    for (const source of sources) {
      for (const direction of [CTA.original, CTA.reply] as const) {
        // An older kernel takes the tuple for the name of one flow, and refuses it because it is not whole.
        writer
          .begin(SUBSYSTEM | COMMAND.delete, FLAG.request | FLAG.ack, sequence++)
          .u8(afOf(4))
          .u8(0)
          .u16(0)
          .nested(direction, (tuple) => tuple.nested(TUPLE_IP, (ip) => ip.attribute(SOURCE[4], source)))
          .nested(CTA.filter, (filter) => filter.attributeU32(FILTER[direction], FILTER_SOURCE))
          .end();
      }
    }
    const acks = await this.#socket.exchangeInThread(writer.finish(), expected);
    this.#hasFilters = acks.length === expected && acks.every(({ errno }) => errno === 0);
    return this.#hasFilters;
  }

  async #deleteListed(family: 4 | 6, sources: ReadonlySet<string>): Promise<void> {
    const flows: FlowName[] = [];
    const request = new MessageWriter(64)
      .begin(SUBSYSTEM | COMMAND.get, FLAG.request | FLAG.dump, this.#socket.takeSequences(1))
      .u8(afOf(family))
      .u8(0)
      .u16(0)
      .end();
    await this.#socket.dumpInSlices(
      request.finish(),
      (message) => {
        const flow = flowOf(message, family, sources);
        if (flow !== null) flows.push(flow);
      },
      SLICE_MS,
      nextTurn,
    );
    for (let start = 0; start < flows.length; start += DELETIONS_PER_SEND) {
      if (start > 0) await nextTurn();
      this.#delete(family, flows.slice(start, start + DELETIONS_PER_SEND));
    }
  }

  #delete(family: 4 | 6, flows: readonly FlowName[]): void {
    const first = this.#socket.takeSequences(flows.length);
    const writer = new MessageWriter(flows.length * 128);
    for (const [index, flow] of flows.entries()) {
      writer
        .begin(SUBSYSTEM | COMMAND.delete, FLAG.request | FLAG.ack, first + index)
        .u8(afOf(family))
        .u8(0)
        .u16(0);
      for (const [type, value] of flow) writer.attribute(type, value);
      writer.end();
    }
    const acks = this.#socket.exchange(writer.finish(), flows.length);
    // A flow that ended by itself meanwhile is as good as deleted.
    const failed = acks.find(({ errno }) => errno !== 0 && errno !== ENOENT);
    if (failed !== undefined) throw netlinkError('Deletion of a tracked flow', failed);
  }
}

/** The name of the listed flow if one of the sources takes part in it, or null. */
function flowOf({ payload }: ReceivedMessage, family: 4 | 6, sources: ReadonlySet<string>): FlowName | null {
  let isOurs = false;
  const name: [number, Buffer][] = [];
  forEachAttribute(payload.subarray(NFGENMSG_LENGTH), (type, value) => {
    if (type === CTA.original || type === CTA.reply) isOurs ||= sources.has(sourceOf(value, family));
    if (type === CTA.original) name.push([type | NESTED, value]);
    if (type === CTA.id || type === CTA.zone) name.push([type, value]);
  });
  // The listing's bytes are views of the receive buffer.
  return isOurs ? name.map(([type, value]) => [type, Buffer.from(value)] as const) : null;
}

/** The source address of a tuple, byte by character; empty if it has none. */
function sourceOf(tuple: Buffer, family: 4 | 6): string {
  let source = '';
  forEachAttribute(tuple, (type, addresses) => {
    if (type !== TUPLE_IP) return;
    forEachAttribute(addresses, (kind, value) => {
      if (kind === SOURCE[family]) source = value.toString('latin1');
    });
  });
  return source;
}
