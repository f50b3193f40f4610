// Members of service sets, from endpoint slices (calc-graph.md section 9; Felix: felix/serviceindex).
import { formatAddress } from '../net/cidr.js';
import type { EndpointSliceModel } from './entries.js';
import { type IpSetDefinition, type Member, type MemberListener, SetMembers } from './ip-set.js';
import { MultiMap } from './multi-map.js';

type ServiceDefinition = Extract<IpSetDefinition, { readonly kind: 'service' }>;

interface ActiveSet {
  readonly definition: ServiceDefinition;
  readonly members: SetMembers;
}

function contribution(slice: EndpointSliceModel, withPorts: boolean): Member[] {
  if (!withPorts) return slice.addresses.map((address) => ({ text: address.text }));
  return slice.addresses.flatMap((address) =>
    slice.ports.map(({ protocol, port }) => ({ text: `${formatAddress(address)},${protocol}:${port}` })),
  );
}

/** Keeps the members of all active service sets and announces their changes. */
export class ServiceSets {
  readonly #listener: MemberListener;
  readonly #slices = new Map<string, EndpointSliceModel>();
  readonly #slicesOf = new MultiMap<string, string>();
  readonly #sets = new Map<string, ActiveSet>();
  readonly #setsOf = new MultiMap<string, string>();

  constructor(listener: MemberListener) {
    this.#listener = listener;
  }

  /** A set came into use; its members are announced during the call. */
  activate(definition: ServiceDefinition): void {
    const active = { definition, members: new SetMembers(definition.id, false, this.#listener) };
    this.#sets.set(definition.id, active);
    this.#setsOf.add(definition.service, definition.id);
    for (const key of this.#slicesOf.get(definition.service)) {
      this.#count(active, this.#slices.get(key) as EndpointSliceModel, 'add');
    }
  }

  /** A set went out of use; nothing is announced for its members. */
  deactivate(setId: string): void {
    const active = this.#sets.get(setId);
    if (active === undefined) return;
    this.#sets.delete(setId);
    this.#setsOf.delete(active.definition.service, setId);
  }

  /** Sets a slice, or removes it. */
  setSlice(key: string, slice: EndpointSliceModel | undefined): void {
    const before = this.#slices.get(key);
    if (slice === undefined) this.#slices.delete(key);
    else {
      this.#slices.set(key, slice);
      this.#slicesOf.add(slice.service, key);
      this.#countAll(slice, 'add');
    }
    if (before === undefined) return;
    if (before.service !== slice?.service) this.#slicesOf.delete(before.service, key);
    this.#countAll(before, 'remove');
  }

  #countAll(slice: EndpointSliceModel, change: 'add' | 'remove'): void {
    for (const id of this.#setsOf.get(slice.service)) this.#count(this.#sets.get(id) as ActiveSet, slice, change);
  }

  #count(active: ActiveSet, slice: EndpointSliceModel, change: 'add' | 'remove'): void {
    for (const member of contribution(slice, active.definition.withPorts)) active.members[change](member);
  }
}
