// Members of selector and named-port sets: active selectors against all endpoints and network sets of the cluster
// (calc-graph.md section 9; Felix: felix/labelindex/named_port_index.go).
import { isDeepStrictEqual } from 'node:util';
import { type Cidr, formatAddress, makeCidr } from '../net/cidr.js';
import type { ProtocolMatch } from '../schema/scalars.js';
import type { Labels, NamedPort } from './entries.js';
import {
  type IpSetDefinition,
  type Member,
  type MemberListener,
  type NamedPortProtocol,
  SetMembers,
} from './ip-set.js';
import { MatchIndex } from './match-index.js';

/** Whatever can be a member: an endpoint or a network set. */
export interface Contributor {
  readonly labels: Labels;
  readonly profiles: readonly string[];
  readonly nets: readonly Cidr[];
  readonly ports: readonly NamedPort[];
}

type SelectorDefinition = Exclude<IpSetDefinition, { readonly kind: 'service' }>;

interface ActiveSet {
  readonly definition: SelectorDefinition;
  readonly members: SetMembers;
}

const PROTOCOL_NUMBERS: Readonly<Record<number, NamedPortProtocol>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

function protocolOf(protocol: ProtocolMatch): NamedPortProtocol {
  const name = typeof protocol === 'number' ? PROTOCOL_NUMBERS[protocol] : protocol;
  return name === 'udp' || name === 'sctp' ? name : 'tcp';
}

function selectorMembers(nets: readonly Cidr[]): Member[] {
  return nets.flatMap((net) => {
    if (net.length > 0) return [{ text: net.text, cidr: net }];
    // hash:net sets cannot hold a prefix of length 0, so Felix always sends its two halves.
    const top = 1n << (net.family === 4 ? 31n : 127n);
    const halves = [makeCidr({ family: net.family, bits: 0n }, 1), makeCidr({ family: net.family, bits: top }, 1)];
    return halves.map((half) => ({ text: half.text, cidr: half }));
  });
}

function contribution(item: Contributor, definition: SelectorDefinition): Member[] {
  if (definition.kind === 'selector') return selectorMembers(item.nets);
  const { protocol, port } = definition;
  const matching = item.ports.filter(
    (candidate) => candidate.name === port && (protocol === 'any' || protocolOf(candidate.protocol) === protocol),
  );
  return matching.flatMap((match) =>
    item.nets.map((net) => ({ text: `${formatAddress(net)},${protocolOf(match.protocol)}:${match.port}` })),
  );
}

/** Keeps the members of all active selector and named-port sets and announces their changes. */
export class SelectorSets {
  readonly #listener: MemberListener;
  readonly #suppressOverlaps: boolean;
  readonly #sets = new Map<string, ActiveSet>();
  readonly #items = new Map<string, Contributor>();
  readonly #index: MatchIndex;
  #updatingItem = false;

  constructor(listener: MemberListener, suppressOverlaps: boolean) {
    this.#listener = listener;
    this.#suppressOverlaps = suppressOverlaps;
    this.#index = new MatchIndex(
      (setId, itemId) => this.#onMatch(setId, itemId, 'add'),
      (setId, itemId) => this.#onMatch(setId, itemId, 'remove'),
    );
  }

  /** A set came into use; its members are announced during the call. */
  activate(definition: SelectorDefinition): void {
    const suppress = this.#suppressOverlaps && definition.kind === 'selector';
    const members = new SetMembers(definition.id, suppress, this.#listener);
    this.#sets.set(definition.id, { definition, members });
    this.#index.setSelector(definition.id, definition.selector);
  }

  /** A set went out of use; nothing is announced for its members. */
  deactivate(setId: string): void {
    this.#sets.delete(setId);
    this.#index.deleteSelector(setId);
  }

  setItem(id: string, item: Contributor): void {
    const before = this.#items.get(id);
    if (before !== undefined && isDeepStrictEqual(before, item)) return;
    const oldSets = [...this.#index.matchesOf(id)];
    this.#items.set(id, item);
    this.#withoutCallbacks(() => this.#index.setItem(id, item.labels, item.profiles));
    for (const setId of this.#index.matchesOf(id)) this.#count(setId, item, 'add');
    if (before !== undefined) for (const setId of oldSets) this.#count(setId, before, 'remove');
  }

  deleteItem(id: string): void {
    const before = this.#items.get(id);
    if (before === undefined) return;
    this.#index.deleteItem(id);
    this.#items.delete(id);
  }

  /** Sets the labels that a profile hands down; undefined if it is gone. */
  setProfileLabels(name: string, labels: Labels | undefined): void {
    this.#index.setParent(name, labels);
  }

  #withoutCallbacks(work: () => void): void {
    this.#updatingItem = true;
    try {
      work();
    } finally {
      this.#updatingItem = false;
    }
  }

  #onMatch(setId: string, itemId: string, change: 'add' | 'remove'): void {
    const item = this.#items.get(itemId);
    if (!this.#updatingItem && item !== undefined) this.#count(setId, item, change);
  }

  #count(setId: string, item: Contributor, change: 'add' | 'remove'): void {
    const active = this.#sets.get(setId);
    if (active === undefined) return;
    for (const member of contribution(item, active.definition)) active.members[change](member);
  }
}
