// What a packet test wants of the driver, as a state; the messages that lead from one state to the next are made here,
// in the order that Felix keeps: what refers to something comes after it and leaves before it.
import { create, type MessageInitShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import {
  type HostEndpointSchema,
  type IPAMPoolSchema,
  IPSetUpdate_IPSetType,
  type PolicySchema,
  type ProfileSchema,
  type RuleSchema,
  ToDataplaneSchema,
  type WorkloadEndpointSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import {
  host,
  hostRemove,
  ipSet,
  ipSetRemove,
  policy,
  policyRemove,
  pool,
  poolRemove,
  profile,
  profileRemove,
  workload,
  workloadRemove,
} from '../../fakes/messages.js';

export type RuleInit = MessageInitShape<typeof RuleSchema>;
export type WorkloadInit = Exclude<MessageInitShape<typeof WorkloadEndpointSchema>, { readonly $typeName: string }>;
export type HostInit = MessageInitShape<typeof HostEndpointSchema>;

/** A pod of the state: where it is plugged in, and its endpoint. */
export interface PodState {
  readonly interfaceName: string;
  readonly endpoint: WorkloadInit;
}

/** Everything the driver is to know beside configuration, hosts and encapsulation. Keys are ids. */
export interface DesiredState {
  /** Id, at most 25 characters → members; the type follows from their form: `A,tcp:80` or an address or CIDR. */
  readonly sets?: Readonly<Record<string, readonly string[]>>;
  /** `gnp/NAME` or `np/NAMESPACE/NAME` → policy. */
  readonly policies?: Readonly<Record<string, MessageInitShape<typeof PolicySchema>>>;
  readonly profiles?: Readonly<Record<string, MessageInitShape<typeof ProfileSchema>>>;
  readonly pods?: Readonly<Record<string, PodState>>;
  readonly hosts?: Readonly<Record<string, HostInit>>;
  readonly pools?: Readonly<Record<string, MessageInitShape<typeof IPAMPoolSchema>>>;
}

/** A message that withdraws what another set. */
interface Item {
  readonly update: DataplaneMessage;
  readonly remove: DataplaneMessage;
}

function setType(members: readonly string[]): IPSetUpdate_IPSetType {
  return members.some((member) => member.includes(',')) ? IPSetUpdate_IPSetType.IP_AND_PORT : IPSetUpdate_IPSetType.NET;
}

/** In the order of updates. */
function items(state: DesiredState): Map<string, Item> {
  const out = new Map<string, Item>();
  for (const [id, members] of Object.entries(state.sets ?? {}))
    out.set(`set ${id}`, { update: ipSet(id, members, setType(members)), remove: ipSetRemove(id) });
  for (const [id, fields] of Object.entries(state.profiles ?? {}))
    out.set(`profile ${id}`, { update: profile(id, fields), remove: profileRemove(id) });
  for (const [id, fields] of Object.entries(state.policies ?? {}))
    out.set(`policy ${id}`, { update: policy(id, fields), remove: policyRemove(id) });
  for (const [id, fields] of Object.entries(state.hosts ?? {}))
    out.set(`host ${id}`, { update: host(id, fields), remove: hostRemove(id) });
  for (const [id, pod] of Object.entries(state.pods ?? {}))
    out.set(`pod ${id}`, {
      update: workload(`default/${id}`, pod.interfaceName, pod.endpoint),
      remove: workloadRemove(`default/${id}`),
    });
  for (const [id, fields] of Object.entries(state.pools ?? {}))
    out.set(`pool ${id}`, { update: pool(id, fields), remove: poolRemove(id) });
  return out;
}

function text(message: DataplaneMessage): string {
  return toJsonString(ToDataplaneSchema, create(ToDataplaneSchema, { payload: message }));
}

/** The messages from one state to another: updates in order, then removes in the opposite order. */
export function transition(from: DesiredState, to: DesiredState): DataplaneMessage[] {
  const before = items(from);
  const after = items(to);
  const updates = [...after].filter(([key, item]) => {
    const old = before.get(key);
    return old === undefined || text(old.update) !== text(item.update);
  });
  const removes = [...before].filter(([key]) => !after.has(key)).reverse();
  return [...updates.map(([, item]) => item.update), ...removes.map(([, item]) => item.remove)];
}

/** One frame without its length prefix. */
export function encodeFrame(payload: DataplaneMessage, sequenceNumber: number): Uint8Array {
  return toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { sequenceNumber: BigInt(sequenceNumber), payload }));
}
