// The links of the node by rtnetlink: all of them or some, their names, indexes and sysctls. Part of `netlink-kernel`.
import type { MessageWriter } from '../kernel/netlink/message.js';
import { AF, RTM, type RtnetlinkSocket } from '../kernel/netlink/rtnetlink.js';
import type { MessageVisitor, ReceivedBytes } from '../kernel/netlink/scan.js';
import { TurnCache } from '../kernel/turn-cache.js';
import { readLinkSysctls, readNetlinkLink, readPromptProxy } from './netlink-link-read.js';
import type { InterfaceNames } from './netlink-read.js';
import type { KernelLink, LinkSysctls } from './route-kernel.js';

const IFLA_NAME = 3;
const IFLA_EXT_MASK = 29;
/** Statistics are most of a link's message, and cost the kernel most of its time. */
const RTEXT_FILTER_SKIP_STATS = 8;

/** All links, and their names by index. */
interface LinkListing {
  readonly links: readonly KernelLink[];
  readonly names: ReadonlyMap<number, string>;
}

/** Reads link messages one by one; those that name another link, which may come later, at the end. */
class LinkReader {
  readonly names = new Map<number, string>();
  readonly #links: KernelLink[] = [];
  readonly #withParent: { readonly at: number; readonly bytes: Buffer }[] = [];

  /** Returns the link, without the name of another one. */
  take(received: ReceivedBytes, start: number, end: number): KernelLink | null {
    const link = readNetlinkLink(received, start, end, () => null);
    if (link === null) return null;
    this.names.set(link.ifindex, link.name);
    if (link.vxlan !== null) {
      this.#withParent.push({ at: this.#links.length, bytes: Buffer.from(received.bytes.subarray(start, end)) });
    }
    this.#links.push(link);
    return link;
  }

  /** Asks for a name only if a link needs it. */
  finish(names: InterfaceNames): readonly KernelLink[] {
    for (const { at, bytes } of this.#withParent) {
      const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
      const link = readNetlinkLink({ bytes, words }, 0, bytes.length, names);
      if (link !== null) this.#links[at] = link;
    }
    return this.#links;
  }
}

function writeHeader(writer: MessageWriter, ifindex: number): MessageWriter {
  writer.u8(AF.unspec).u8(0).u16(0).i32(ifindex).u32(0).u32(0);
  return writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

/** Reads links over a socket that it shares with others. What was read holds for a turn of the event loop. */
export class NetlinkLinks {
  readonly #socket: RtnetlinkSocket;
  readonly #listing = new TurnCache<LinkListing>();
  /** Of interfaces that were asked for by name: shaping and routes of a new pod ask for the same one. */
  readonly #indexes = new TurnCache<Map<string, number>>();

  constructor(socket: RtnetlinkSocket) {
    this.#socket = socket;
  }

  /** The links of this turn: read and understood once for all that ask. */
  all(): LinkListing {
    return this.#listing.get(() => {
      const reader = new LinkReader();
      this.#dump((received, start, end) => reader.take(received, start, end));
      return finished(reader);
    });
  }

  /** Those of the named links that exist. */
  named(wanted: readonly string[]): readonly KernelLink[] {
    const reader = new LinkReader();
    for (const name of wanted) this.#ask(name, (received, start, end) => reader.take(received, start, end));
    return reader.finish((ifindex) => this.nameOf(ifindex));
  }

  /** Names of all links by index. */
  names(): InterfaceNames {
    const { names } = this.all();
    return (ifindex) => names.get(ifindex) ?? null;
  }

  nameOf(ifindex: number): string | null {
    let name: string | null = null;
    this.#socket.ask(
      RTM.getLink,
      (writer) => writeHeader(writer, ifindex),
      (received, start, end) => {
        name = readNetlinkLink(received, start, end, () => null)?.name ?? null;
      },
    );
    return name;
  }

  indexOf(name: string): number | null {
    const known = this.#knownIndexes();
    if (!known.has(name)) this.#ask(name, () => undefined);
    return known.get(name) ?? null;
  }

  /** Sysctls of all links, read anew for each call, never from what this turn has read already. */
  sysctls(): Map<string, LinkSysctls> {
    const sysctls = new Map<string, LinkSysctls>();
    const prompt = this.#promptProxies();
    const reader = new LinkReader();
    this.#dump((received, start, end) => {
      const link = reader.take(received, start, end);
      if (link === null) return;
      const proxyDelay = prompt.has(link.ifindex) ? 0 : undefined;
      sysctls.set(link.name, readLinkSysctls(received.words, start, end, proxyDelay));
    });
    this.#listing.clear();
    this.#listing.get(() => finished(reader));
    return sysctls;
  }

  /** Something was written: the listing is outdated. */
  forgetListing(): void {
    this.#listing.clear();
  }

  /** Links were made or removed: their indexes are outdated too. */
  forgetIndexes(): void {
    this.#indexes.clear();
  }

  #dump(visit: MessageVisitor): void {
    this.#socket.scan(RTM.getLink, (writer) => writeHeader(writer, 0), visit);
  }

  #ask(name: string, visit: MessageVisitor): void {
    this.#socket.ask(
      RTM.getLink,
      (writer) => writeHeader(writer, 0).attributeString(IFLA_NAME, name),
      (received, start, end) => {
        this.#knownIndexes().set(name, received.words[(start >>> 2) + 1] ?? 0);
        visit(received, start, end);
      },
    );
  }

  /** Indexes of the links whose `neigh/…/proxy_delay` is 0. */
  #promptProxies(): Set<number> {
    const prompt = new Set<number>();
    this.#socket.scan(
      RTM.getNeighbourTable,
      (writer) => writer.u8(AF.inet).u8(0).u16(0),
      ({ words }, start, end) => prompt.add(readPromptProxy(words, start, end)),
    );
    return prompt;
  }

  #knownIndexes(): Map<string, number> {
    return this.#indexes.get(() => new Map<string, number>());
  }
}

function finished(reader: LinkReader): LinkListing {
  const { names } = reader;
  return { links: reader.finish((ifindex) => names.get(ifindex) ?? null), names };
}
