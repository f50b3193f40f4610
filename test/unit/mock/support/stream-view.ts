// A driver that only keeps books: applies messages one by one and fails on anything that a real driver could not apply
// safely at that moment (a name used before it was sent, removed while in use, a delta for an unknown set …).
import { create, toJson } from '@bufbuild/protobuf';
import { type Rule, type TierInfo, ToDataplaneSchema } from '../../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../../../src/protocol/session.js';

function policyKey(id: { name: string; namespace: string; kind: string } | undefined): string {
  return `${id?.kind}/${id?.namespace}/${id?.name}`;
}

function setIds(rules: readonly Rule[]): string[] {
  return rules.flatMap((rule) => [
    ...rule.srcIpSetIds,
    ...rule.dstIpSetIds,
    ...rule.notSrcIpSetIds,
    ...rule.notDstIpSetIds,
    ...rule.dstIpPortSetIds,
    ...rule.srcNamedPortIpSetIds,
    ...rule.dstNamedPortIpSetIds,
    ...rule.notSrcNamedPortIpSetIds,
    ...rule.notDstNamedPortIpSetIds,
  ]);
}

function policyKeys(tiers: readonly TierInfo[]): string[] {
  return tiers.flatMap((tier) => [...tier.ingressPolicies, ...tier.egressPolicies].map(policyKey));
}

/** Canonical text of a payload, keys sorted. */
export function payloadText(payload: ToDataplanePayload): string {
  const sort = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sort);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([key, item]) => [key, sort(item)]));
  };
  return JSON.stringify(sort(toJson(ToDataplaneSchema, create(ToDataplaneSchema, { payload }))));
}

export class StreamView {
  readonly sets = new Map<string, Set<string>>();
  readonly #setUsers = new Map<string, readonly string[]>();
  readonly #endpointUses = new Map<string, { readonly policies: string[]; readonly profiles: string[] }>();
  readonly #objects = new Map<string, string>();
  #inSync = false;

  /** Applies the payloads of one flush; throws on the first that is not safe. */
  apply(payloads: readonly ToDataplanePayload[]): void {
    for (const payload of payloads) this.#one(payload);
  }

  get isInSync(): boolean {
    return this.#inSync;
  }

  /** Everything in force: object name → content. Members of sets are sorted. */
  state(): Record<string, string> {
    const sets = [...this.sets].map(([id, members]): [string, string] => [`set ${id}`, [...members].sort().join(' ')]);
    return Object.fromEntries([...this.#objects, ...sets].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #one(payload: ToDataplanePayload): void {
    switch (payload.case) {
      case 'ipsetUpdate':
        // A set that went and came back within one flush is sent in full again, without a removal: it replaces.
        this.#must(new Set(payload.value.members).size === payload.value.members.length, 'duplicate members');
        this.sets.set(payload.value.id, new Set(payload.value.members));
        this.#objects.set(`type of set ${payload.value.id}`, String(payload.value.type));
        return;
      case 'ipsetDeltaUpdate': {
        const { id, addedMembers, removedMembers } = payload.value;
        const members = this.sets.get(id);
        if (members === undefined) throw new Error(`delta for the unknown set ${id}`);
        this.#must(addedMembers.length + removedMembers.length > 0, `empty delta for ${id}`);
        for (const member of removedMembers) this.#must(members.delete(member), `${member} is not in ${id}`);
        for (const member of addedMembers) {
          this.#must(!members.has(member), `${member} is in ${id} already`);
          members.add(member);
        }
        return;
      }
      case 'ipsetRemove': {
        const { id } = payload.value;
        for (const [user, ids] of this.#setUsers) this.#must(!ids.includes(id), `${id} removed while ${user} uses it`);
        this.#must(this.sets.delete(id), `unknown set ${id} removed`);
        this.#objects.delete(`type of set ${id}`);
        return;
      }
      case 'activePolicyUpdate': {
        const name = `policy ${policyKey(payload.value.id)}`;
        const { inboundRules = [], outboundRules = [] } = payload.value.policy ?? {};
        this.#setRules(name, [...inboundRules, ...outboundRules], payload);
        return;
      }
      case 'activeProfileUpdate': {
        const { inboundRules = [], outboundRules = [] } = payload.value.profile ?? {};
        this.#setRules(`profile ${payload.value.id?.name}`, [...inboundRules, ...outboundRules], payload);
        return;
      }
      case 'activePolicyRemove': {
        const key = policyKey(payload.value.id);
        for (const [user, uses] of this.#endpointUses) {
          this.#must(!uses.policies.includes(key), `policy ${key} removed while ${user} uses it`);
        }
        this.#removeRules(`policy ${key}`);
        return;
      }
      case 'activeProfileRemove': {
        const name = payload.value.id?.name ?? '';
        for (const [user, uses] of this.#endpointUses) {
          this.#must(!uses.profiles.includes(name), `profile ${name} removed while ${user} uses it`);
        }
        this.#removeRules(`profile ${name}`);
        return;
      }
      case 'workloadEndpointUpdate': {
        const { id, endpoint } = payload.value;
        const name = `workload ${id?.orchestratorId} ${id?.workloadId} ${id?.endpointId}`;
        this.#setEndpoint(name, endpoint?.tiers ?? [], endpoint?.profileIds ?? [], payload);
        return;
      }
      case 'hostEndpointUpdate': {
        const { id, endpoint } = payload.value;
        const lists = [endpoint?.tiers, endpoint?.untrackedTiers, endpoint?.preDnatTiers, endpoint?.forwardTiers];
        const tiers = lists.flatMap((list) => list ?? []);
        this.#setEndpoint(`host ${id?.endpointId}`, tiers, endpoint?.profileIds ?? [], payload);
        return;
      }
      case 'workloadEndpointRemove': {
        const { id } = payload.value;
        this.#removeEndpoint(`workload ${id?.orchestratorId} ${id?.workloadId} ${id?.endpointId}`);
        return;
      }
      case 'hostEndpointRemove':
        this.#removeEndpoint(`host ${payload.value.id?.endpointId}`);
        return;
      case 'inSync':
        this.#must(!this.#inSync, 'InSync sent twice');
        this.#inSync = true;
        return;
      case 'configUpdate':
      case 'encapsulation':
      case 'globalBgpConfigUpdate':
        this.#objects.set(payload.case, payloadText(payload));
        return;
      default:
        this.#other(payload);
    }
  }

  #other(payload: ToDataplanePayload): void {
    const key = JSON.stringify(keyFields(payload));
    const kind = payload.case.replace(/(Update|Remove)$/, '');
    if (payload.case.endsWith('Update')) this.#objects.set(`${kind} ${key}`, payloadText(payload));
    else this.#must(this.#objects.delete(`${kind} ${key}`), `unknown ${kind} ${key} removed`);
  }

  #setRules(name: string, rules: readonly Rule[], payload: ToDataplanePayload): void {
    const ids = setIds(rules);
    for (const id of ids) this.#must(this.sets.has(id), `${name} names the unknown set ${id}`);
    this.#setUsers.set(name, ids);
    this.#objects.set(name, payloadText(payload));
  }

  #removeRules(name: string): void {
    this.#must(this.#objects.delete(name), `unknown ${name} removed`);
    this.#setUsers.delete(name);
  }

  #setEndpoint(name: string, tiers: readonly TierInfo[], profiles: string[], payload: ToDataplanePayload): void {
    const policies = policyKeys(tiers);
    for (const key of policies)
      this.#must(this.#objects.has(`policy ${key}`), `${name} names the unknown policy ${key}`);
    for (const key of profiles)
      this.#must(this.#objects.has(`profile ${key}`), `${name} names the unknown profile ${key}`);
    this.#endpointUses.set(name, { policies, profiles });
    this.#objects.set(name, payloadText(payload));
  }

  #removeEndpoint(name: string): void {
    this.#must(this.#objects.delete(name), `unknown ${name} removed`);
    this.#endpointUses.delete(name);
  }

  #must(holds: boolean, message: string): void {
    if (!holds) throw new Error(message);
  }
}

function keyFields(payload: ToDataplanePayload): unknown {
  switch (payload.case) {
    case 'routeUpdate':
    case 'routeRemove':
      return payload.value.dst;
    case 'vtepUpdate':
    case 'vtepRemove':
      return payload.value.node;
    case 'hostMetadataUpdate':
    case 'hostMetadataRemove':
    case 'wireguardEndpointUpdate':
    case 'wireguardEndpointRemove':
    case 'wireguardEndpointV6Update':
    case 'wireguardEndpointV6Remove':
      return payload.value.hostname;
    case 'ipamPoolUpdate':
    case 'ipamPoolRemove':
      return payload.value.id;
    case 'namespaceUpdate':
    case 'namespaceRemove':
      return payload.value.id?.name;
    case 'serviceAccountUpdate':
    case 'serviceAccountRemove':
      return `${payload.value.id?.namespace}/${payload.value.id?.name}`;
    case 'serviceUpdate':
    case 'serviceRemove':
      return `${payload.value.namespace}/${payload.value.name}`;
    default:
      throw new Error(`unexpected ${payload.case}`);
  }
}
