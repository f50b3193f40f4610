// Answers ARP and neighbour discovery on host interfaces for addresses behind this node (dataplane.md 2.11), over raw
// sockets: nothing in the kernel is configured.
import type { Clock, Timer } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import { cidrContains, parseCidr } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { Family } from '../model/family.js';
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import { ETHERTYPE, type FrameSocket, type OpenFrameSocket } from './frame-socket.js';
import {
  answerArp,
  answerSolicitation,
  gratuitousArp,
  SOLICITATION,
  solicitedNodeMac,
  unsolicitedAdvertisement,
} from './neighbour-packets.js';

/** What the manager may ask for: the addresses that this node should answer for, wherever a subnet has them. */
export interface ProxyNeighbours {
  readonly family: Family;
  setAddresses(addresses: ReadonlySet<string>): void;
}

/** An interface address as listed. */
interface ListedAddress {
  readonly interfaceName: string;
  readonly family: Family;
  readonly address: string;
  readonly length: number;
}

/** What the responders of one family are made with. */
export interface ProxyNeighbourOptions {
  readonly family: Family;
  readonly kernel: { listAddresses(): Promise<readonly ListedAddress[]> };
  /** Null where raw sockets cannot be opened: then nobody answers, which is said once. */
  readonly openSocket: OpenFrameSocket | null;
  readonly workloadPrefixes: readonly string[];
  /** LocalSubnetL2ReachabilityRefreshInterval; 0 = announce once only. */
  readonly refreshIntervalMs: number;
  readonly clock: Clock;
  /** A responder was lost outside an apply: have the next one run. */
  readonly wake: () => void;
  readonly logger: Logger;
}

interface Responder {
  readonly socket: FrameSocket;
  /** Our address on the link, for IPv6. */
  source: string;
  addresses: ReadonlySet<string>;
}

/** What one interface should answer for. */
interface Wanted {
  readonly addresses: Set<string>;
  readonly linkLocal: string | null;
}

const RETRY_DELAY_MS = 1_000;

/** One responder for each host interface with a subnet that holds wanted addresses. */
export class ProxyNeighbourReconciler implements ProxyNeighbours, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly #options: ProxyNeighbourOptions;
  readonly #responders = new Map<string, Responder>();
  #addresses: ReadonlySet<string> = new Set();
  #isDirty = false;
  #refreshTimer: Timer | null = null;
  #saidUnsupported = false;
  /** Interfaces that cannot be served now, with what was said about them. */
  readonly #faults = new Map<string, string>();

  constructor(options: ProxyNeighbourOptions) {
    this.#options = options;
    this.family = options.family;
    this.name = `proxy-neighbours-v${options.family}`;
  }

  setAddresses(addresses: ReadonlySet<string>): void {
    this.#addresses = addresses;
    this.#isDirty = true;
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    if (!this.#isWorkload(event.name)) this.#isDirty = true;
  }

  /** A frame that is sent while the link has no carrier is lost: all is announced again once it has one. */
  onInterfaceState(event: InterfaceStateEvent): void {
    const responder = event.state === 'up' ? this.#responders.get(event.name) : undefined;
    if (responder !== undefined) this.#announceAll(responder);
  }

  queueResync(): void {
    this.#isDirty = true;
  }

  /** Closes all sockets. */
  stop(): void {
    this.#refreshTimer?.cancel();
    for (const { socket } of this.#responders.values()) socket.close();
    this.#responders.clear();
  }

  async apply(): Promise<ApplyResult> {
    if (!this.#isDirty) return { refused: [], operations: 0 };
    const { openSocket, logger } = this.#options;
    if (openSocket === null) {
      if (this.#addresses.size > 0 && !this.#saidUnsupported) {
        this.#saidUnsupported = true;
        logger.warn('LocalSubnetL2Reachability needs raw sockets, which are not available; nobody answers');
      }
      this.#isDirty = false;
      return { refused: [], operations: 0 };
    }
    this.#isDirty = false;
    try {
      const wanted = this.#match(await this.#options.kernel.listAddresses());
      for (const name of [...this.#responders.keys()]) if (!wanted.has(name)) this.#close(name);
      for (const [name, want] of wanted) this.#tryEnsure(name, want, openSocket);
      this.#armRefresh();
    } catch (error) {
      this.#isDirty = true;
      logger.warn('Cannot answer for neighbours, will try again', { error: errorMessage(error) });
    }
    return { refused: [], operations: 0, ...(this.#isDirty ? { rescheduleAfterMs: RETRY_DELAY_MS } : {}) };
  }

  #isWorkload(name: string): boolean {
    return this.#options.workloadPrefixes.some((prefix) => name.startsWith(prefix));
  }

  #match(listed: readonly ListedAddress[]): Map<string, Wanted> {
    const wanted = new Map<string, Wanted>();
    const candidates = [...this.#addresses].flatMap((text) => {
      const parsed = parseCidr(text);
      return parsed === null ? [] : [{ text, parsed }];
    });
    for (const { interfaceName, family, address, length } of listed) {
      if (family !== this.family || this.#isWorkload(interfaceName)) continue;
      const subnet = parseCidr(`${address}/${length}`);
      if (subnet === null) continue;
      const entry = wanted.get(interfaceName) ?? { addresses: new Set<string>(), linkLocal: null };
      for (const { text, parsed } of candidates) if (cidrContains(subnet, parsed)) entry.addresses.add(text);
      const linkLocal = address.startsWith('fe80:') ? address : entry.linkLocal;
      wanted.set(interfaceName, { addresses: entry.addresses, linkLocal });
    }
    for (const [name, { addresses }] of wanted) if (addresses.size === 0) wanted.delete(name);
    return wanted;
  }

  /** One interface that is down must not keep the others from being served. */
  #tryEnsure(name: string, wanted: Wanted, openSocket: OpenFrameSocket): void {
    try {
      this.#ensure(name, wanted, openSocket);
      this.#faults.delete(name);
    } catch (error) {
      this.#isDirty = true;
      const reason = errorMessage(error);
      if (this.#faults.get(name) === reason) return;
      this.#faults.set(name, reason);
      this.#options.logger.warn('Cannot answer for neighbours, will try again', { interface: name, error: reason });
    }
  }

  #ensure(name: string, wanted: Wanted, openSocket: OpenFrameSocket): void {
    const source = wanted.linkLocal ?? [...wanted.addresses][0] ?? '::';
    let responder = this.#responders.get(name);
    if (responder === undefined) {
      const opened: Responder = {
        socket: openSocket({
          interfaceName: name,
          etherTypes: [this.family === 4 ? ETHERTYPE.arp : ETHERTYPE.ipv6],
          icmpv6Types: [SOLICITATION],
          onFrame: (frame) => this.#answer(opened, frame),
          onError: (reason) => this.#onError(name, opened, reason),
        }),
        source,
        addresses: new Set(),
      };
      responder = opened;
      this.#responders.set(name, responder);
      this.#options.logger.info('Answering for neighbours', { interface: name, family: this.family });
    }
    responder.source = source;
    const fresh = [...wanted.addresses].filter((address) => !responder.addresses.has(address));
    responder.addresses = wanted.addresses;
    if (this.family === 6) responder.socket.setMulticast(new Set([...wanted.addresses].map(solicitedNodeMac)));
    for (const address of fresh) this.#announce(responder, address);
  }

  #answer(responder: Responder, frame: Buffer): void {
    const { socket, addresses, source } = responder;
    const wants = (address: string): boolean => addresses.has(address);
    const reply =
      this.family === 4 ? answerArp(frame, socket.mac, wants) : answerSolicitation(frame, socket.mac, source, wants);
    if (reply !== null) socket.send(reply);
  }

  #announce(responder: Responder, address: string): void {
    const { socket, source } = responder;
    socket.send(
      this.family === 4 ? gratuitousArp(address, socket.mac) : unsolicitedAdvertisement(address, socket.mac, source),
    );
  }

  #announceAll(responder: Responder): void {
    for (const address of responder.addresses) this.#announce(responder, address);
  }

  #onError(name: string, responder: Responder, reason: string): void {
    if (this.#responders.get(name) !== responder) return;
    this.#options.logger.warn('Responder of an interface is lost, opening another', { interface: name, reason });
    this.#close(name);
    this.#isDirty = true;
    this.#options.wake();
  }

  #close(name: string): void {
    this.#responders.get(name)?.socket.close();
    this.#responders.delete(name);
  }

  #armRefresh(): void {
    const { clock, refreshIntervalMs } = this.#options;
    if (refreshIntervalMs <= 0 || this.#refreshTimer !== null || this.#responders.size === 0) return;
    this.#refreshTimer = clock.setTimer(refreshIntervalMs, () => {
      this.#refreshTimer = null;
      for (const responder of this.#responders.values()) this.#announceAll(responder);
      this.#armRefresh();
    });
  }
}
