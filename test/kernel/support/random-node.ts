// A node that changes at random and always legally, as Felix would tell it: sets before what uses them, policies and
// profiles before endpoints, removals the other way round. It can also tell its present state as a fresh start. What is
// new has a name that nothing had before, so that whoever remembers what is gone grows.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { IPSetUpdate_IPSetType, type RuleSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import {
  ipSet,
  ipSetDelta,
  ipSetRemove,
  policy,
  policyRemove,
  profile,
  profileRemove,
  tier,
  workload,
  workloadRemove,
} from '../../fakes/messages.js';
import type { SeededRandom } from './random.js';

type RuleShape = MessageInitShape<typeof RuleSchema>;

/** How large the node is; sets, policies and profiles vary between half of it and all of it. */
export interface RandomNodeSize {
  readonly pods: number;
  readonly policies: number;
  readonly sets: number;
  readonly profiles: number;
}

interface SetState {
  readonly type: IPSetUpdate_IPSetType;
  readonly members: Set<string>;
}

interface RuleSetState {
  readonly inbound: readonly RuleShape[];
  readonly outbound: readonly RuleShape[];
  /** Sets that the rules name: they must exist for as long. */
  readonly sets: ReadonlySet<string>;
}

interface PodState {
  readonly workload: string;
  readonly address: string;
  readonly policies: readonly string[];
  readonly profiles: readonly string[];
  readonly active: boolean;
}

const MAX_MEMBERS = 40;
/** Names are of one length, so that none is the start of another. */
const NUMBER_WIDTH = 6;
const ACTIONS = ['allow', 'allow', 'deny', 'next-tier', 'log'] as const;
const SET_TYPES = [IPSetUpdate_IPSetType.NET, IPSetUpdate_IPSetType.IP, IPSetUpdate_IPSetType.IP_AND_PORT] as const;
const SET_TYPE_NAMES: ReadonlyMap<IPSetUpdate_IPSetType, string> = new Map([
  [IPSetUpdate_IPSetType.NET, 'net'],
  [IPSetUpdate_IPSetType.IP, 'ip'],
  [IPSetUpdate_IPSetType.IP_AND_PORT, 'port'],
]);

/** The state, and the messages that change it. */
export class RandomNode {
  readonly size: RandomNodeSize;
  readonly #random: SeededRandom;
  readonly #sets = new Map<string, SetState>();
  readonly #policies = new Map<string, RuleSetState>();
  readonly #profiles = new Map<string, RuleSetState>();
  readonly #pods = new Map<number, PodState>();
  readonly #given: string[] = [];
  /** How often each kind of update was made. */
  readonly counts: Record<string, number> = {};

  constructor(size: RandomNodeSize, random: SeededRandom) {
    this.size = size;
    this.#random = random;
    for (let index = 0; index < size.sets / 2; index++) this.#newSet();
    for (let index = 0; index < size.policies / 2; index++) this.#setRules('policy', this.#newName('policy-'));
    for (let index = 0; index < size.profiles / 2; index++) this.#setRules('profile', this.#newName('profile-'));
    for (let pod = 0; pod < size.pods; pod += 2) this.#setPod(pod);
  }

  /** Names of the pods' interfaces that have an endpoint now. */
  get interfaces(): string[] {
    return [...this.#pods.keys()].map(podInterface);
  }

  /** Names of sets, policies, profiles and workloads that were and are no more, oldest first, without `s:`, `default/`. */
  get gone(): string[] {
    const workloads = [...this.#pods.values()].map(({ workload: name }) => name);
    const present = new Set([...this.#sets.keys(), ...this.#policies.keys(), ...this.#profiles.keys(), ...workloads]);
    return this.#given.filter((name) => !present.has(name)).map((name) => name.replace(/^.*[:/]/, ''));
  }

  /** The present state in legal order, from nothing. */
  snapshot(): DataplaneMessage[] {
    return [
      ...[...this.#sets].map(([id, { members, type }]) => ipSet(id, [...members], type)),
      ...[...this.#policies].map(([name, rules]) => policyMessage(name, rules)),
      ...[...this.#profiles].map(([name, rules]) => profileMessage(name, rules)),
      ...[...this.#pods].map(([pod, state]) => podMessage(pod, state)),
    ];
  }

  /** One random update: a message, or several that only make sense together. */
  update(): DataplaneMessage[] {
    const roll = this.#random.integer(100);
    if (roll < 35) return this.#counted('set member', this.#changeMembers());
    if (roll < 40) return this.#counted('set', this.#sets.size < this.size.sets ? this.#newSet() : this.#dropSet());
    if (roll < 55) return this.#counted('policy edit', this.#editRules('policy'));
    if (roll < 63) return this.#counted('policy', this.#policyComesOrGoes());
    if (roll < 68) return this.#counted('profile edit', this.#editRules('profile'));
    if (roll < 70) return this.#counted('profile', this.#profileComesOrGoes());
    if (roll < 85) return this.#counted('pod change', this.#setPod(this.#random.integer(this.size.pods)));
    return this.#counted('pod', this.#podComesOrGoes());
  }

  #counted(kind: string, messages: DataplaneMessage[]): DataplaneMessage[] {
    if (messages.length > 0) this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    return messages;
  }

  #newSet(): DataplaneMessage[] {
    const type = this.#random.pick(SET_TYPES);
    // Felix's ids are made of what is in the set: one id never changes its type, which no kernel could swap.
    const id = this.#newName(`s:${SET_TYPE_NAMES.get(type) ?? ''}-`);
    const members = new Set(Array.from({ length: this.#random.integer(MAX_MEMBERS) }, () => this.#member(type)));
    this.#sets.set(id, { type, members });
    return [ipSet(id, [...members], type)];
  }

  #dropSet(): DataplaneMessage[] {
    const used = new Set([...this.#policies.values(), ...this.#profiles.values()].flatMap(({ sets }) => [...sets]));
    const unused = [...this.#sets.keys()].filter((id) => !used.has(id));
    if (unused.length === 0) return this.#editRules('policy');
    const id = this.#random.pick(unused);
    this.#sets.delete(id);
    return [ipSetRemove(id)];
  }

  #changeMembers(): DataplaneMessage[] {
    const id = this.#random.pick([...this.#sets.keys()]);
    const set = this.#sets.get(id);
    if (set === undefined) return [];
    if (this.#random.integer(20) === 0) {
      set.members.clear();
      for (let count = this.#random.integer(MAX_MEMBERS); count > 0; count--) set.members.add(this.#member(set.type));
      return [ipSet(id, [...set.members], set.type)];
    }
    const added: string[] = [];
    const removed: string[] = [];
    if (set.members.size > 0 && this.#random.integer(2) === 0) {
      const member = this.#random.pick([...set.members]);
      set.members.delete(member);
      removed.push(member);
    }
    const member = this.#member(set.type);
    if (set.members.size < MAX_MEMBERS && !set.members.has(member) && !removed.includes(member)) {
      set.members.add(member);
      added.push(member);
    }
    return added.length + removed.length === 0 ? [] : [ipSetDelta(id, added, removed)];
  }

  #member(type: IPSetUpdate_IPSetType): string {
    const address = `10.${100 + this.#random.integer(2)}.${this.#random.integer(16)}.${1 + this.#random.integer(250)}`;
    if (type === IPSetUpdate_IPSetType.IP) return address;
    if (type === IPSetUpdate_IPSetType.IP_AND_PORT)
      return `${address},${this.#random.pick(['tcp', 'udp'])}:${1 + this.#random.integer(60_000)}`;
    return this.#random.integer(3) === 0 ? `10.100.${this.#random.integer(16)}.0/24` : `${address}/32`;
  }

  #newName(prefix: string): string {
    const name = `${prefix}${String(this.#given.length).padStart(NUMBER_WIDTH, '0')}`;
    this.#given.push(name);
    return name;
  }

  #editRules(kind: 'policy' | 'profile'): DataplaneMessage[] {
    const known = kind === 'policy' ? this.#policies : this.#profiles;
    return known.size === 0 ? [] : this.#setRules(kind, this.#random.pick([...known.keys()]));
  }

  #setRules(kind: 'policy' | 'profile', name: string): DataplaneMessage[] {
    const sets = new Set<string>();
    const rules = (): RuleShape[] =>
      Array.from({ length: this.#random.integer(6) }, (_, index) => this.#rule(`${name}/${index}`, sets));
    const state = { inbound: rules(), outbound: rules(), sets };
    if (kind === 'policy') this.#policies.set(name, state);
    else this.#profiles.set(name, state);
    return [kind === 'policy' ? policyMessage(name, state) : profileMessage(name, state)];
  }

  #rule(id: string, sets: Set<string>): RuleShape {
    const port = 1 + this.#random.integer(60_000);
    const rule: RuleShape = {
      action: this.#random.pick(ACTIONS),
      protocol: { numberOrName: { case: 'name', value: this.#random.pick(['tcp', 'udp']) } },
      ruleId: Buffer.from(id).toString('base64url').slice(0, 16),
    };
    const set = this.#random.pick([...this.#sets.keys()]);
    const type = this.#sets.get(set)?.type;
    switch (this.#random.integer(4)) {
      case 0:
        return { ...rule, dstPorts: [{ first: port, last: port + this.#random.integer(9) }] };
      case 1:
        return { ...rule, srcNet: [`10.${this.#random.integer(200)}.0.0/16`] };
      default:
        sets.add(set);
        if (type === IPSetUpdate_IPSetType.IP_AND_PORT) return { ...rule, dstIpPortSetIds: [set] };
        return { ...rule, srcIpSetIds: [set], dstPorts: [{ first: port, last: port }] };
    }
  }

  #policyComesOrGoes(): DataplaneMessage[] {
    if (this.#policies.size < this.size.policies && this.#random.integer(2) === 0)
      return this.#setRules('policy', this.#newName('policy-'));
    const used = new Set([...this.#pods.values()].flatMap(({ policies }) => policies));
    return this.#drop(this.#policies, used, (name) => policyRemove(`gnp/${name}`));
  }

  #profileComesOrGoes(): DataplaneMessage[] {
    if (this.#profiles.size < this.size.profiles && this.#random.integer(2) === 0)
      return this.#setRules('profile', this.#newName('profile-'));
    const used = new Set([...this.#pods.values()].flatMap(({ profiles }) => profiles));
    return this.#drop(this.#profiles, used, profileRemove);
  }

  #drop(
    known: Map<string, RuleSetState>,
    used: ReadonlySet<string>,
    remove: (name: string) => DataplaneMessage,
  ): DataplaneMessage[] {
    const unused = [...known.keys()].filter((name) => !used.has(name));
    if (unused.length === 0 || known.size < 2) return [];
    const name = this.#random.pick(unused);
    known.delete(name);
    return [remove(name)];
  }

  #podComesOrGoes(): DataplaneMessage[] {
    const pod = this.#random.integer(this.size.pods);
    const known = this.#pods.get(pod);
    if (known === undefined) return this.#setPod(pod);
    this.#pods.delete(pod);
    return [workloadRemove(known.workload)];
  }

  #setPod(pod: number): DataplaneMessage[] {
    const some = (known: ReadonlyMap<string, unknown>, atMost: number): string[] => {
      const names = [...known.keys()];
      return [...new Set(Array.from({ length: this.#random.integer(atMost + 1) }, () => this.#random.pick(names)))];
    };
    const state: PodState = {
      workload: this.#pods.get(pod)?.workload ?? this.#newName('default/pod-'),
      address: `10.65.${this.#random.integer(4)}.${pod + 1}`,
      policies: some(this.#policies, 5),
      profiles: some(this.#profiles, 2),
      active: this.#random.integer(10) !== 0,
    };
    this.#pods.set(pod, state);
    return [podMessage(pod, state)];
  }
}

function podInterface(pod: number): string {
  return `cali${pod}`;
}

function podMessage(pod: number, { workload: name, address, policies, profiles, active }: PodState): DataplaneMessage {
  return workload(name, podInterface(pod), {
    state: active ? 'active' : 'inactive',
    mac: 'ee:ee:ee:ee:01:01',
    profileIds: [...profiles],
    ipv4Nets: [`${address}/32`],
    tiers: policies.length === 0 ? [] : [tier(policies.map((name) => `gnp/${name}`))],
  });
}

function policyMessage(name: string, { inbound, outbound }: RuleSetState): DataplaneMessage {
  return policy(`gnp/${name}`, {
    originalSelector: `policy == "${name}"`,
    inboundRules: [...inbound],
    outboundRules: [...outbound],
  });
}

function profileMessage(name: string, { inbound, outbound }: RuleSetState): DataplaneMessage {
  return profile(name, { inboundRules: [...inbound], outboundRules: [...outbound] });
}
