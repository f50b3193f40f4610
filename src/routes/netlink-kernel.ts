// RouteKernel by rtnetlink: no process, a few microseconds an operation. Traffic control, rarely changed, is left to
// the tools.
import { NetlinkError } from '../base/errors.js';
import type { NativeLibrary } from '../kernel/netlink/library.js';
import { FLAG, type ReceivedMessage } from '../kernel/netlink/message.js';
import { AF, afOf, RTM, type RtnetlinkRequest, RtnetlinkSocket } from '../kernel/netlink/rtnetlink.js';
import { findAttribute } from '../kernel/netlink/scan.js';
import { type Acknowledgement, netlinkError, RETRY_ERRNOS } from '../kernel/netlink/socket.js';
import type { Family } from '../model/family.js';
import { NetlinkLinks } from './netlink-links.js';
import {
  type InterfaceNames,
  readNetlinkAddress,
  readNetlinkFdbEntry,
  readNetlinkNeighbour,
  readNetlinkRoute,
  readNetlinkRule,
} from './netlink-read.js';
import { encodeOperation, type RtnetlinkOperation, type TrafficControlOperation } from './netlink-write.js';
import type {
  KernelAddress,
  KernelFailure,
  KernelFailureReason,
  KernelFdbEntry,
  KernelLink,
  KernelNeighbour,
  KernelOperation,
  KernelRoute,
  KernelRule,
  KernelTrafficControl,
  LinkSysctls,
  RouteKernel,
} from './route-kernel.js';

/** A dump that was interrupted by a change is taken again this often (6.1). */
const DUMP_ATTEMPTS = 5;
/** From so many operations on, the indexes of all links are read at once. */
const MANY_OPERATIONS = 64;
/** From so many interfaces on, one listing of all queueing disciplines is cheaper than two requests for each. */
const MANY_INTERFACES = 64;
/** Where a discipline hangs: tcm_parent of linux/pkt_sched.h. */
const TC_PARENTS = { root: 0xffffffff, ingress: 0xfffffff1 } as const;
const ENOENT = 2;
const ENODEV = 19;
const RTA_OUT_INTERFACE = 4;
const RTA_TABLE = 15;
const NDA_IFINDEX = 8;
const TCA_KIND = 1;
/** struct tcmsg. */
const TC_HEADER_LENGTH = 20;
/** `noqueue` and its zero, as words. */
const NO_QUEUE = [0x7571_6f6e, 0x0065_7565] as const;

const TRAFFIC_CONTROL: ReadonlySet<KernelOperation['op']> = new Set<TrafficControlOperation['op']>([
  'replace-tbf',
  'delete-tbf',
  'add-ingress',
  'delete-ingress',
  'delete-filters',
  'add-redirect',
]);

function isTrafficControl(operation: KernelOperation): operation is TrafficControlOperation {
  return TRAFFIC_CONTROL.has(operation.op);
}

const REASONS: Readonly<Record<string, KernelFailureReason>> = {
  ENOENT: 'missing',
  ESRCH: 'missing',
  EADDRNOTAVAIL: 'missing',
  EEXIST: 'exists',
  ENODEV: 'interface-missing',
  ENXIO: 'interface-missing',
  ENETDOWN: 'interface-down',
  EOPNOTSUPP: 'unsupported',
  EAFNOSUPPORT: 'unsupported',
};

function failureOf(ack: Acknowledgement): KernelFailure | null {
  if (ack.errno === 0) return null;
  const error = netlinkError('rtnetlink', ack);
  return { reason: REASONS[error.code] ?? 'other', message: error.message };
}

/** Routing state by netlink; `tools` does traffic control. */
export class NetlinkRouteKernel implements RouteKernel {
  readonly #socket: RtnetlinkSocket;
  readonly #tools: RouteKernel;
  readonly #links: NetlinkLinks;

  constructor(library: NativeLibrary, tools: RouteKernel) {
    this.#socket = new RtnetlinkSocket(library);
    this.#links = new NetlinkLinks(this.#socket);
    this.#tools = tools;
  }

  listLinks(wanted?: readonly string[]): Promise<readonly KernelLink[]> {
    return this.#attempt(() => (wanted === undefined ? this.#links.all().links : this.#links.named(wanted)));
  }

  /** What the kernel tells at this moment of the sysctls of all links. */
  listSysctls(): Promise<ReadonlyMap<string, LinkSysctls>> {
    return this.#attempt(() => this.#links.sysctls());
  }

  listAddresses(interfaceNames?: readonly string[]): Promise<readonly KernelAddress[]> {
    return this.#attempt(() => {
      if (interfaceNames === undefined) return this.#addresses(this.#links.names(), 0);
      return interfaceNames.flatMap((name) => {
        const ifindex = this.#links.indexOf(name);
        return ifindex === null ? [] : this.#addresses((other) => (other === ifindex ? name : null), ifindex);
      });
    });
  }

  listRoutes(family: Family, table: number, interfaceNames?: readonly string[]): Promise<readonly KernelRoute[]> {
    return this.#attempt(() => {
      if (interfaceNames === undefined) return this.#routes(family, table, this.#links.names(), null);
      return interfaceNames.flatMap((name) => {
        const ifindex = this.#links.indexOf(name);
        if (ifindex === null) return [];
        // Other interfaces are those of further next hops. They can't be asked for while the socket is being read.
        let hasOthers = false;
        const ownName = (other: number): string | null => {
          if (other === ifindex) return name;
          hasOthers = true;
          return null;
        };
        const routes = this.#routes(family, table, ownName, ifindex);
        return hasOthers ? this.#routes(family, table, this.#links.names(), ifindex) : routes;
      });
    });
  }

  listRules(family: Family): Promise<readonly KernelRule[]> {
    return this.#attempt(() => {
      const rules: KernelRule[] = [];
      this.#socket.dump(
        RTM.getRule,
        (writer) => writer.u8(afOf(family)).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u32(0),
        (message) => rules.push(readNetlinkRule(message.payload, family)),
      );
      return rules;
    });
  }

  listNeighbours(family: Family, interfaceNames?: readonly string[]): Promise<readonly KernelNeighbour[]> {
    return this.#attempt(() => {
      const neighbours: KernelNeighbour[] = [];
      const read = (ifindex: number, names: InterfaceNames): void => {
        this.#neighbours(afOf(family), ifindex, (message) => {
          const neighbour = readNetlinkNeighbour(message.payload, names);
          if (neighbour !== null) neighbours.push(neighbour);
        });
      };
      if (interfaceNames === undefined) read(0, this.#links.names());
      for (const name of interfaceNames ?? []) {
        const ifindex = this.#links.indexOf(name);
        if (ifindex !== null) read(ifindex, (other) => (other === ifindex ? name : null));
      }
      return neighbours;
    });
  }

  listFdb(interfaceName: string): Promise<readonly KernelFdbEntry[]> {
    return this.#attempt(() => {
      const ifindex = this.#links.indexOf(interfaceName);
      if (ifindex === null) return [];
      const entries: KernelFdbEntry[] = [];
      this.#neighbours(AF.bridge, ifindex, (message) => {
        const entry = readNetlinkFdbEntry(message.payload, (other) => (other === ifindex ? interfaceName : null));
        if (entry !== null) entries.push(entry);
      });
      return entries;
    });
  }

  /** Asks the tools only about interfaces that have a queueing discipline other than the kernel's own. */
  async listTrafficControl(interfaceNames: readonly string[]): Promise<readonly KernelTrafficControl[]> {
    const shaped = await this.#attempt(() =>
      interfaceNames.length < MANY_INTERFACES ? this.#shapedOf(interfaceNames) : this.#shapedInterfaces(),
    );
    const asked = interfaceNames.filter((name) => shaped.has(name));
    const listed = asked.length === 0 ? [] : await this.#tools.listTrafficControl(asked);
    const byName = new Map(listed.map((entry) => [entry.interfaceName, entry]));
    return interfaceNames.flatMap((interfaceName) => {
      if (!shaped.has(interfaceName)) return [{ interfaceName, tbf: null, hasIngress: false, redirects: [] }];
      const entry = byName.get(interfaceName);
      return entry === undefined ? [] : [entry];
    });
  }

  async apply(operations: readonly KernelOperation[]): Promise<readonly (KernelFailure | null)[]> {
    const results: (KernelFailure | null)[] = [];
    for (let start = 0; start < operations.length; ) {
      const byTools = isTrafficControl(operations[start] as KernelOperation);
      let end = start + 1;
      while (end < operations.length && isTrafficControl(operations[end] as KernelOperation) === byTools) end += 1;
      const run = operations.slice(start, end);
      results.push(...(byTools ? await this.#tools.apply(run) : this.#applyRun(run as RtnetlinkOperation[])));
      start = end;
    }
    return results;
  }

  /** Frees the socket. */
  close(): void {
    this.#socket.close();
  }

  /** Interface indexes are looked up as late as possible: a link may be created by an operation just before. */
  #applyRun(operations: readonly RtnetlinkOperation[]): (KernelFailure | null)[] {
    const results: (KernelFailure | null)[] = [];
    const indexes = this.#indexesOf(operations);
    const lookUp = (name: string): number | null => {
      const known = indexes.get(name);
      if (known !== undefined) return known;
      const found = this.#links.indexOf(name);
      indexes.set(name, found);
      return found;
    };
    let waiting: RtnetlinkRequest[] = [];
    const flush = (): void => {
      this.#links.forgetListing();
      for (const ack of this.#socket.apply(waiting)) results.push(failureOf(ack));
      waiting = [];
    };
    for (const operation of operations) {
      if (operation.op === 'add-link' || operation.op === 'delete-link') flush();
      const encoded = encodeOperation(operation, lookUp);
      if ('problem' in encoded) {
        flush();
        results.push({ reason: encoded.problem, message: encoded.message });
        continue;
      }
      waiting.push(encoded);
      if (operation.op === 'add-link' || operation.op === 'delete-link') {
        flush();
        indexes.clear();
        this.#links.forgetIndexes();
      }
    }
    flush();
    return results;
  }

  /** One listing instead of many questions, each of which waits for the kernel's lock on links. */
  #indexesOf(operations: readonly RtnetlinkOperation[]): Map<string, number | null> {
    const indexes = new Map<string, number | null>();
    if (operations.length < MANY_OPERATIONS) return indexes;
    try {
      for (const { name, ifindex } of this.#links.all().links) indexes.set(name, ifindex);
    } catch (error) {
      // A listing that a change interrupted is no reason to fail: names are then looked up one by one.
      if (!(error instanceof NetlinkError)) throw error;
      indexes.clear();
    }
    return indexes;
  }

  #addresses(names: InterfaceNames, ifindex: number): KernelAddress[] {
    const addresses: KernelAddress[] = [];
    try {
      this.#socket.dump(
        RTM.getAddress,
        (writer) => writer.u8(AF.unspec).u8(0).u8(0).u8(0).u32(ifindex),
        (message) => {
          const address = readNetlinkAddress(message.payload, names);
          if (address !== null) addresses.push(address);
        },
      );
    } catch (error) {
      // The interface went just now.
      if (error instanceof NetlinkError && error.errno === ENODEV) return [];
      throw error;
    }
    return addresses;
  }

  #routes(family: Family, table: number, names: InterfaceNames, ifindex: number | null): KernelRoute[] {
    const routes: KernelRoute[] = [];
    try {
      this.#socket.scan(
        RTM.getRoute,
        (writer) => {
          writer
            .u8(afOf(family))
            .u8(0)
            .u8(0)
            .u8(0)
            .u8(table < 256 ? table : 0)
            .u8(0)
            .u8(0)
            .u8(0)
            .u32(0);
          writer.attributeU32(RTA_TABLE, table);
          if (ifindex !== null) writer.attributeU32(RTA_OUT_INTERFACE, ifindex);
        },
        (received, start, end) => {
          const route = readNetlinkRoute(received, start, end, table, names);
          if (route !== null) routes.push(route);
        },
      );
    } catch (error) {
      // A table without routes does not exist; neither may the interface, by now.
      const isMissing = error instanceof NetlinkError && [ENOENT, ENODEV].includes(error.errno);
      if (isMissing) return [];
      throw error;
    }
    return routes;
  }

  #neighbours(addressFamily: number, ifindex: number, onMessage: (message: ReceivedMessage) => void): void {
    this.#socket.dump(
      RTM.getNeighbour,
      (writer) => {
        writer
          .u8(addressFamily)
          .u8(0)
          .u16(0)
          .i32(addressFamily === AF.bridge ? ifindex : 0)
          .u16(0)
          .u8(0)
          .u8(0);
        if (ifindex !== 0 && addressFamily !== AF.bridge) writer.attributeU32(NDA_IFINDEX, ifindex);
      },
      onMessage,
    );
  }

  #shapedOf(names: readonly string[]): Set<string> {
    const shaped = new Set<string>();
    for (const name of names) {
      const ifindex = this.#links.indexOf(name);
      if (ifindex === null) continue;
      for (const parent of Object.values(TC_PARENTS)) {
        this.#socket.ask(
          RTM.getQdisc,
          (writer) => writer.u8(AF.unspec).u8(0).u16(0).i32(ifindex).u32(0).u32(parent).u32(0),
          ({ words }, start, end) => {
            if (isShaping(words, start, end)) shaped.add(name);
          },
          // Without it the kernel answers listeners of traffic control, but not us (net/sched/sch_api.c qdisc_get_notify).
          FLAG.echo,
        );
      }
    }
    return shaped;
  }

  #shapedInterfaces(): Set<string> {
    const indexes = new Set<number>();
    this.#socket.scan(
      RTM.getQdisc,
      (writer) => writer.u8(AF.unspec).u8(0).u16(0).i32(0).u32(0).u32(0).u32(0),
      ({ words }, start, end) => {
        if (isShaping(words, start, end)) indexes.add(words[(start >>> 2) + 1] ?? 0);
      },
    );
    return new Set([...indexes].map((ifindex) => this.#links.nameOf(ifindex)).filter(isPresent));
  }

  #attempt<T>(read: () => T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return Promise.resolve(read());
      } catch (error) {
        const again =
          error instanceof NetlinkError && error.errno === RETRY_ERRNOS.interrupted && attempt < DUMP_ATTEMPTS;
        if (!again) return Promise.reject(error as Error);
      }
    }
  }
}

/** Whether a queueing discipline (its tcmsg and attributes) is another than the kernel's own of a virtual link. */
function isShaping(words: Int32Array, start: number, end: number): boolean {
  const kind = findAttribute(words, start + TC_HEADER_LENGTH, end, TCA_KIND);
  return kind < 0 || words[kind >>> 2] !== NO_QUEUE[0] || words[(kind >>> 2) + 1] !== NO_QUEUE[1];
}

function isPresent<T>(value: T | null): value is T {
  return value !== null;
}
