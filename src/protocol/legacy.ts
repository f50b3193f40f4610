// Older encodings of Felix's protocol, lifted to the present schema before the driver sees them: policies named by a
// string in a tier, a tier in the policy id, and host addresses in payloads of their own (dataplane.md 0).
import { create, fromBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import {
  type HostMetadataRemove,
  HostMetadataRemoveSchema,
  type HostMetadataUpdate,
  HostMetadataUpdateSchema,
  type PolicyID,
  type TierInfo,
} from './gen/felix/felixbackend_pb.js';
import { forgetBytes } from './message-reader.js';
import type { ToDataplanePayload } from './session.js';

/** Field numbers on the way from an envelope to the policies of its tiers; `policy` marks the end of the way. */
type FieldPath = { readonly [field: number]: FieldPath | 'policy' };

const TIER: FieldPath = { 2: 'policy', 3: 'policy' };
const TIERS_OF_ENVELOPE: FieldPath = {
  9: { 3: { 3: TIER, 6: TIER, 7: TIER, 8: TIER } },
  11: { 5: { 7: TIER } },
};

/**
 * A policy in a tier was a plain name until December 2025 (Calico 790c866c9d) and is a PolicyID since. The two can be
 * told apart: names begin with a letter or digit (0x30 and up), a PolicyID with the tag of one of its fields 1 to 4
 * (0x0a, 0x12, 0x1a, 0x22).
 */
function isPolicyName(bytes: Uint8Array): boolean {
  const [first] = bytes;
  return first !== undefined && first >= 0x30;
}

function findsPolicyName(bytes: Uint8Array, path: FieldPath): boolean {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    const next = path[field];
    if (next === undefined || wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, field);
      continue;
    }
    const inner = reader.bytes();
    if (next === 'policy' ? isPolicyName(inner) : findsPolicyName(inner, next)) return true;
  }
  return false;
}

function rewritePolicyNames(bytes: Uint8Array, path: FieldPath): Uint8Array {
  const reader = new BinaryReader(bytes);
  const writer = new BinaryWriter();
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    writer.tag(field, wireType);
    const next = path[field];
    if (next === undefined || wireType !== WireType.LengthDelimited) {
      writer.raw(reader.skip(wireType, field));
    } else {
      const inner = reader.bytes();
      if (next !== 'policy') writer.bytes(rewritePolicyNames(inner, next));
      else if (isPolicyName(inner)) writer.fork().tag(2, WireType.LengthDelimited).bytes(inner).join();
      else writer.bytes(inner);
    }
  }
  return writer.finish();
}

/**
 * The envelope with every policy name in a tier turned into a PolicyID of that name; the same bytes when there is
 * none, which costs one pass over the tags of an endpoint message and nothing for any other. Throws for bytes that
 * are not protobuf.
 */
export function upgradeTierPolicies(envelope: Uint8Array): Uint8Array {
  if (!findsPolicyName(envelope, TIERS_OF_ENVELOPE)) return envelope;
  return rewritePolicyNames(envelope, TIERS_OF_ENVELOPE);
}

/** Kinds came with the PolicyID of December 2025; before that, staged policies were known by their names. */
function stagedKind(name: string): string | undefined {
  const slash = name.indexOf('/');
  const local = name.slice(slash + 1);
  if (!local.startsWith('staged:')) return undefined;
  if (slash < 0) return 'StagedGlobalNetworkPolicy';
  return local.startsWith('staged:knp.') ? 'StagedKubernetesNetworkPolicy' : 'StagedNetworkPolicy';
}

/** Gives an id without a kind the staged kind that its name tells, so that a staged policy is never enforced. */
function upgradePolicyId(id: PolicyID): boolean {
  if (id.kind !== '') return false;
  const kind = stagedKind(id.name);
  if (kind === undefined) return false;
  id.kind = kind;
  return true;
}

function upgradeTiers(tiers: readonly TierInfo[]): boolean {
  let changed = false;
  for (const tier of tiers) {
    for (const id of tier.ingressPolicies) changed = upgradePolicyId(id) || changed;
    for (const id of tier.egressPolicies) changed = upgradePolicyId(id) || changed;
  }
  return changed;
}

/** Removes the old tier (field 1) from an id and returns it. */
function takeTier(id: PolicyID): string | undefined {
  const field = id.$unknown?.find((unknown) => unknown.no === 1 && unknown.wireType === WireType.LengthDelimited);
  if (field === undefined || id.$unknown === undefined) return undefined;
  const others = id.$unknown.filter((unknown) => unknown !== field);
  if (others.length > 0) id.$unknown = others;
  else delete id.$unknown;
  return new BinaryReader(field.data).string();
}

/** Changes an old encoding of policy ids in place. Returns whether there was one. */
export function upgradePolicyIds(payload: ToDataplanePayload): boolean {
  switch (payload.case) {
    case 'activePolicyUpdate':
    case 'activePolicyRemove': {
      const { id } = payload.value;
      if (id === undefined) return false;
      const tier = takeTier(id);
      if (tier !== undefined && payload.case === 'activePolicyUpdate' && payload.value.policy?.tier === '') {
        payload.value.policy.tier = tier;
      }
      return upgradePolicyId(id) || tier !== undefined;
    }
    case 'workloadEndpointUpdate': {
      const { endpoint } = payload.value;
      const isUpgraded = upgradeTiers(endpoint?.tiers ?? []);
      if (endpoint !== undefined && isUpgraded) forgetBytes(endpoint);
      return isUpgraded;
    }
    case 'hostEndpointUpdate': {
      const endpoint = payload.value.endpoint;
      if (endpoint === undefined) return false;
      const lists = [endpoint.tiers, endpoint.untrackedTiers, endpoint.preDnatTiers, endpoint.forwardTiers];
      return lists.map(upgradeTiers).includes(true);
    }
    default:
      return false;
  }
}

/** Payload numbers of the old host messages, reserved since May 2026 (Calico 4aaf680a26, eb0e813dfa). */
const LEGACY_V6_UPDATE = 35;
const LEGACY_V6_REMOVE = 36;
const LEGACY_V4V6_UPDATE = 37;
const LEGACY_V4V6_REMOVE = 38;
const LEGACY_HOST_PAYLOADS = [LEGACY_V6_UPDATE, LEGACY_V6_REMOVE, LEGACY_V4V6_UPDATE, LEGACY_V4V6_REMOVE];

/** Whether a payload number is one of the old host messages. */
export function isLegacyHostPayload(field: number): boolean {
  return LEGACY_HOST_PAYLOADS.includes(field);
}

interface HostAddresses {
  update: HostMetadataUpdate;
  /** An old payload named this host: the two families then come and go apart. */
  split: boolean;
}

/**
 * Joins the old per-family host messages into the present one, which always carries both. State: the last metadata of
 * every host, because the other family's address is needed when one changes.
 */
export class HostMetadataJoiner {
  readonly #hosts = new Map<string, HostAddresses>();

  /** An old payload (numbers 35 to 38) and its message bytes → the present form. */
  joinLegacy(field: number, bytes: Uint8Array): ToDataplanePayload {
    if (field === LEGACY_V4V6_UPDATE) return this.#replace(fromBinary(HostMetadataUpdateSchema, bytes));
    const remove = fromBinary(HostMetadataRemoveSchema, bytes);
    if (field === LEGACY_V4V6_REMOVE) return this.#forget(remove);
    // In the V6 messages, field 2 is the IPv6 address.
    const ipv6Addr = field === LEGACY_V6_UPDATE ? remove.ipv4Addr : '';
    return this.#merge(remove.hostname, { ipv6Addr }, true);
  }

  /** A present payload; changed only for hosts whose families are known to come apart. */
  joinPresent(payload: ToDataplanePayload): ToDataplanePayload {
    if (payload.case === 'hostMetadataUpdate') {
      const { hostname, ipv4Addr, ipv6Addr } = payload.value;
      if (this.#hosts.get(hostname)?.split !== true || ipv6Addr !== '') return this.#replace(payload.value);
      return this.#merge(hostname, { ipv4Addr }, false);
    }
    if (payload.case === 'hostMetadataRemove') {
      const { hostname } = payload.value;
      if (this.#hosts.get(hostname)?.split !== true) return this.#forget(payload.value);
      return this.#merge(hostname, { ipv4Addr: '' }, false);
    }
    return payload;
  }

  #merge(
    hostname: string,
    change: { readonly ipv4Addr: string } | { readonly ipv6Addr: string },
    split: boolean,
  ): ToDataplanePayload {
    const known = this.#hosts.get(hostname);
    const { ipv4Addr = '', ipv6Addr = '', asnumber = '', labels = {} } = known?.update ?? {};
    const update = create(HostMetadataUpdateSchema, { hostname, ipv4Addr, ipv6Addr, asnumber, labels, ...change });
    if (update.ipv4Addr === '' && update.ipv6Addr === '') {
      return this.#forget(create(HostMetadataRemoveSchema, { hostname }));
    }
    this.#hosts.set(hostname, { update, split: split || known?.split === true });
    return { case: 'hostMetadataUpdate', value: update };
  }

  #replace(update: HostMetadataUpdate): ToDataplanePayload {
    const split = this.#hosts.get(update.hostname)?.split === true;
    this.#hosts.set(update.hostname, { update, split });
    return { case: 'hostMetadataUpdate', value: update };
  }

  #forget(remove: HostMetadataRemove): ToDataplanePayload {
    this.#hosts.delete(remove.hostname);
    return { case: 'hostMetadataRemove', value: remove };
  }
}
