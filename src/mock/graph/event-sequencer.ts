// Collects what the graph found out and hands it over in an order in which nothing is named before it is sent, and
// nothing is removed before its last user (calc-graph.md section 2; Felix: felix/calc/event_sequencer.go).
import { create } from '@bufbuild/protobuf';
import { BugError } from '../../base/errors.js';
import {
  InSyncSchema,
  IPSetDeltaUpdateSchema,
  IPSetRemoveSchema,
  type IPSetUpdate_IPSetType,
  IPSetUpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../protocol/session.js';
import type { MemberListener } from './ip-set.js';

type Cases = {
  [C in ToDataplanePayload['case']]: Extract<ToDataplanePayload, { case: C }>['value'];
};

/** Updates of one kind of object: the last one wins, a removal goes out only for what was sent. */
class Pending<U extends ToDataplanePayload['case'], R extends ToDataplanePayload['case']> {
  readonly #updateCase: U;
  readonly #removeCase: R;
  readonly #updates = new Map<string, Cases[U]>();
  readonly #removals = new Map<string, Cases[R]>();
  readonly #sent = new Set<string>();

  constructor(updateCase: U, removeCase: R) {
    this.#updateCase = updateCase;
    this.#removeCase = removeCase;
  }

  update(key: string, value: Cases[U]): void {
    this.#removals.delete(key);
    this.#updates.set(key, value);
  }

  remove(key: string, value: Cases[R]): void {
    this.#updates.delete(key);
    if (this.#sent.has(key)) this.#removals.set(key, value);
  }

  takeUpdates(): ToDataplanePayload[] {
    const taken = sorted(this.#updates).map(([key, value]) => {
      this.#sent.add(key);
      return { case: this.#updateCase, value } as unknown as ToDataplanePayload;
    });
    this.#updates.clear();
    return taken;
  }

  takeRemovals(): ToDataplanePayload[] {
    const taken = sorted(this.#removals).map(([key, value]) => {
      this.#sent.delete(key);
      return { case: this.#removeCase, value } as unknown as ToDataplanePayload;
    });
    this.#removals.clear();
    return taken;
  }
}

function sorted<V>(map: ReadonlyMap<string, V>): [string, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

interface MemberDelta {
  readonly added: Set<string>;
  readonly removed: Set<string>;
}

/** Sets: the first sight is sent whole, later changes as deltas; what cancels out is not sent. */
class PendingSets implements MemberListener {
  readonly #added = new Map<string, IPSetUpdate_IPSetType>();
  readonly #removed = new Set<string>();
  readonly #members = new Map<string, MemberDelta>();
  readonly #sent = new Set<string>();

  onSetAdded(id: string, type: IPSetUpdate_IPSetType): void {
    if (this.#sent.has(id) && !this.#removed.has(id)) throw new BugError(`IP set ${id} was added twice`);
    this.#added.set(id, type);
    this.#removed.delete(id);
    this.#members.delete(id);
  }

  onSetRemoved(id: string): void {
    if (!this.#sent.has(id) && !this.#added.has(id)) throw new BugError(`unknown IP set ${id} was removed`);
    if (this.#sent.has(id)) this.#removed.add(id);
    this.#added.delete(id);
    this.#members.delete(id);
  }

  onMemberAdded(id: string, member: string): void {
    const delta = this.#delta(id);
    if (!delta.removed.delete(member)) delta.added.add(member);
  }

  onMemberRemoved(id: string, member: string): void {
    const delta = this.#delta(id);
    if (!delta.added.delete(member)) delta.removed.add(member);
  }

  take(): ToDataplanePayload[] {
    const full = sorted(this.#added).map(([id, type]): ToDataplanePayload => {
      const members = [...(this.#members.get(id)?.added ?? [])].sort();
      this.#members.delete(id);
      this.#sent.add(id);
      return { case: 'ipsetUpdate', value: create(IPSetUpdateSchema, { id, type, members }) };
    });
    this.#added.clear();
    const changed = sorted(this.#members).filter(([, { added, removed }]) => added.size + removed.size > 0);
    const shrinking = changed.filter(([, { removed }]) => removed.size > 0);
    const growing = changed.filter(([, { removed }]) => removed.size === 0);
    this.#members.clear();
    const deltas = [...shrinking, ...growing].map(([id, { added, removed }]): ToDataplanePayload => {
      const value = create(IPSetDeltaUpdateSchema, {
        id,
        addedMembers: [...added].sort(),
        removedMembers: [...removed].sort(),
      });
      return { case: 'ipsetDeltaUpdate', value };
    });
    return [...full, ...deltas];
  }

  takeRemovals(): ToDataplanePayload[] {
    const taken = [...this.#removed].sort().map((id): ToDataplanePayload => {
      this.#sent.delete(id);
      return { case: 'ipsetRemove', value: create(IPSetRemoveSchema, { id }) };
    });
    this.#removed.clear();
    return taken;
  }

  #delta(id: string): MemberDelta {
    const known = this.#added.has(id) || (this.#sent.has(id) && !this.#removed.has(id));
    if (!known) throw new BugError(`IP set ${id} changed members while it is not in use`);
    let delta = this.#members.get(id);
    if (delta === undefined) {
      delta = { added: new Set(), removed: new Set() };
      this.#members.set(id, delta);
    }
    return delta;
  }
}

/** What is sent by itself, without id; the last one before a flush wins. */
class PendingSingle<C extends ToDataplanePayload['case']> {
  readonly #case: C;
  #value: Cases[C] | undefined;

  constructor(singleCase: C) {
    this.#case = singleCase;
  }

  set(value: Cases[C]): void {
    this.#value = value;
  }

  take(): ToDataplanePayload[] {
    const value = this.#value;
    this.#value = undefined;
    return value === undefined ? [] : [{ case: this.#case, value } as unknown as ToDataplanePayload];
  }
}

/** The pending output, one field per kind of message. */
export class EventSequencer {
  readonly config = new PendingSingle('configUpdate');
  readonly sets = new PendingSets();
  readonly policies = new Pending('activePolicyUpdate', 'activePolicyRemove');
  readonly profiles = new Pending('activeProfileUpdate', 'activeProfileRemove');
  readonly workloads = new Pending('workloadEndpointUpdate', 'workloadEndpointRemove');
  readonly hostEndpoints = new Pending('hostEndpointUpdate', 'hostEndpointRemove');
  readonly serviceAccounts = new Pending('serviceAccountUpdate', 'serviceAccountRemove');
  readonly namespaces = new Pending('namespaceUpdate', 'namespaceRemove');
  readonly routes = new Pending('routeUpdate', 'routeRemove');
  readonly vteps = new Pending('vtepUpdate', 'vtepRemove');
  readonly wireguard = new Pending('wireguardEndpointUpdate', 'wireguardEndpointRemove');
  readonly wireguardV6 = new Pending('wireguardEndpointV6Update', 'wireguardEndpointV6Remove');
  readonly hosts = new Pending('hostMetadataUpdate', 'hostMetadataRemove');
  readonly pools = new Pending('ipamPoolUpdate', 'ipamPoolRemove');
  readonly encapsulation = new PendingSingle('encapsulation');
  readonly bgpConfig = new PendingSingle('globalBgpConfigUpdate');
  readonly services = new Pending('serviceUpdate', 'serviceRemove');
  #inSyncDue = false;

  /** The next flush ends with InSync. To be called once. */
  onInSync(): void {
    this.#inSyncDue = true;
  }

  /** Everything pending, in a safe order; nothing is pending afterwards. Sorted by id where any order is right. */
  flush(): ToDataplanePayload[] {
    const payloads = [
      ...this.config.take(),
      ...this.sets.take(),
      ...this.policies.takeUpdates(),
      ...this.profiles.takeUpdates(),
      ...this.workloads.takeUpdates(),
      ...this.hostEndpoints.takeUpdates(),
      ...this.workloads.takeRemovals(),
      ...this.hostEndpoints.takeRemovals(),
      ...this.profiles.takeRemovals(),
      ...this.policies.takeRemovals(),
      ...this.sets.takeRemovals(),
      ...this.serviceAccounts.takeRemovals(),
      ...this.serviceAccounts.takeUpdates(),
      ...this.namespaces.takeRemovals(),
      ...this.namespaces.takeUpdates(),
      ...this.routes.takeRemovals(),
      ...this.vteps.takeRemovals(),
      ...this.vteps.takeUpdates(),
      ...this.routes.takeUpdates(),
      ...this.wireguard.takeRemovals(),
      ...this.wireguardV6.takeRemovals(),
      ...this.wireguard.takeUpdates(),
      ...this.wireguardV6.takeUpdates(),
      ...this.hosts.takeRemovals(),
      ...this.hosts.takeUpdates(),
      ...this.pools.takeRemovals(),
      ...this.pools.takeUpdates(),
      ...this.encapsulation.take(),
      ...this.bgpConfig.take(),
      ...this.services.takeRemovals(),
      ...this.services.takeUpdates(),
    ];
    if (this.#inSyncDue) payloads.push({ case: 'inSync', value: create(InSyncSchema) });
    this.#inSyncDue = false;
    return payloads;
  }
}
