// IP sets as values, and how their kernel names are made.
import type { Family } from './family.js';

/** ipset types that the driver makes. */
export type IpSetType = 'hash:ip' | 'hash:net' | 'hash:ip,port';

/** A set that is wanted. `id` is Felix's id (`s:…`, `n:…`) or one of {@link OWN_SET_IDS}. */
export interface IpSetSpec {
  readonly id: string;
  readonly type: IpSetType;
  /** maxelem; ignored by nftables. */
  readonly maxSize: number;
}

/** Ids of the sets that the driver itself owns (dataplane.md 3.11). */
export const OWN_SET_IDS = {
  networkPools: 'network-ip-pools',
  masqueradePools: 'masq-ipam-pools',
  allHosts: 'all-hosts-net',
  allVxlan: 'all-vxlan-net',
  thisHost: 'this-host',
  istioWorkloads: 'all-istio-weps',
  dscpSources: 'dscp-src-net',
  noFlowOffload: 'no-flow-offload',
} as const;

/** Longest name ipset takes, in bytes. */
const MAX_SET_NAME_LENGTH = 31;

/** Name in the kernel, `cali40` + id, cut at 31 bytes (dataplane.md 3.11). nft printers also replace `:` by `-`. */
export function ipSetName(family: Family, id: string): string {
  return `cali${family}0${id}`.slice(0, MAX_SET_NAME_LENGTH);
}
