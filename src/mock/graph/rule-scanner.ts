// Active policies and profiles to messages; brings sets into use with the first rule that names them and out of use
// with the last (calc-graph.md sections 6 and 7; Felix: felix/calc/rule_scanner.go).
import { create } from '@bufbuild/protobuf';
import {
  ActivePolicyRemoveSchema,
  ActivePolicyUpdateSchema,
  ActiveProfileRemoveSchema,
  ActiveProfileUpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { parseSelector } from '../selector/selector.js';
import type { IdentifiedPolicy } from './active-rules.js';
import type { PolicyId, ProfileModel, RuleModel } from './entries.js';
import type { EventSequencer } from './event-sequencer.js';
import type { IpSetDefinition } from './ip-set.js';
import { MultiMap } from './multi-map.js';
import { type ConvertedRules, convertRules } from './rule-conversion.js';

/** Told when a set comes into use or goes out of use. */
export interface SetUseListener {
  onSetUsed(definition: IpSetDefinition): void;
  onSetUnused(definition: IpSetDefinition): void;
}

const NOTHING = {
  nets: [],
  notNets: [],
  ports: [],
  notPorts: [],
  selector: '',
  notSelector: '',
  originalSelector: '',
  originalNamespaceSelector: '',
  serviceAccountNames: [],
  serviceAccountSelector: '',
  serviceName: '',
  serviceNamespace: '',
};
const DENY_ALL: RuleModel = {
  action: 'deny',
  ipVersion: undefined,
  protocol: undefined,
  notProtocol: undefined,
  icmp: undefined,
  notIcmp: undefined,
  source: NOTHING,
  destination: NOTHING,
  http: undefined,
  annotations: undefined,
};
/** What an endpoint gets for a profile that does not exist. */
const MISSING_PROFILE = { inbound: [DENY_ALL], outbound: [DENY_ALL] };

/** Converts active rules and hands them to the sequencer. */
export class RuleScanner {
  readonly #sequencer: EventSequencer;
  readonly #listener: SetUseListener;
  readonly #setsOf = new Map<string, ReadonlyMap<string, IpSetDefinition>>();
  readonly #usersOf = new MultiMap<string, string>();

  constructor(sequencer: EventSequencer, listener: SetUseListener) {
    this.#sequencer = sequencer;
    this.#listener = listener;
  }

  onPolicyActive(key: string, policy: IdentifiedPolicy): void {
    const { id } = policy;
    const inbound = convertRules(policy.inbound, `pol-in-default/${id.name}`);
    const outbound = convertRules(policy.outbound, `pol-out-default/${id.name}`);
    this.#setUses(`policy ${key}`, inbound, outbound);
    this.#sequencer.policies.update(
      key,
      create(ActivePolicyUpdateSchema, {
        id: { name: id.name, namespace: id.namespace, kind: id.kind },
        policy: {
          tier: policy.tier,
          namespace: policy.namespace,
          inboundRules: [...inbound.rules],
          outboundRules: [...outbound.rules],
          untracked: policy.doNotTrack,
          preDnat: policy.preDnat,
          originalSelector: parseSelector(policy.selector).text,
          perfHints: [...policy.performanceHints],
        },
      }),
    );
  }

  onPolicyInactive(key: string, id: PolicyId): void {
    this.#setUses(`policy ${key}`);
    const value = create(ActivePolicyRemoveSchema, { id: { name: id.name, namespace: id.namespace, kind: id.kind } });
    this.#sequencer.policies.remove(key, value);
  }

  onProfileActive(name: string, profile: ProfileModel | undefined): void {
    const rules = profile ?? MISSING_PROFILE;
    const inbound = convertRules(rules.inbound, `prof-in-${name}`);
    const outbound = convertRules(rules.outbound, `prof-out-${name}`);
    this.#setUses(`profile ${name}`, inbound, outbound);
    this.#sequencer.profiles.update(
      name,
      create(ActiveProfileUpdateSchema, {
        id: { name },
        profile: { inboundRules: [...inbound.rules], outboundRules: [...outbound.rules] },
      }),
    );
  }

  onProfileInactive(name: string): void {
    this.#setUses(`profile ${name}`);
    this.#sequencer.profiles.remove(name, create(ActiveProfileRemoveSchema, { id: { name } }));
  }

  #setUses(user: string, ...converted: readonly ConvertedRules[]): void {
    const before = this.#setsOf.get(user) ?? new Map<string, IpSetDefinition>();
    const now = new Map(converted.flatMap(({ sets }) => [...sets]));
    if (now.size > 0) this.#setsOf.set(user, now);
    else this.#setsOf.delete(user);
    for (const [id, definition] of now) {
      if (before.has(id)) continue;
      const wasUsed = this.#usersOf.has(id);
      this.#usersOf.add(id, user);
      if (!wasUsed) this.#listener.onSetUsed(definition);
    }
    for (const [id, definition] of before) {
      if (now.has(id)) continue;
      this.#usersOf.delete(id, user);
      if (!this.#usersOf.has(id)) this.#listener.onSetUnused(definition);
    }
  }
}
