// The interface of the rule renderer: pure functions from endpoints, policies and configuration to chains. One
// renderer serves one family and one back end; it returns values, never text.
import type { Chain, Rule, VerdictMap } from '../model/chain.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Backend, Family, TableName } from '../model/family.js';
import type { Policy, PolicyID, Profile, QoSControls } from '../protocol/gen/felix/felixbackend_pb.js';

/** Everything that rendering depends on; fixed for the life of a renderer. */
export interface RenderOptions {
  readonly family: Family;
  readonly backend: Backend;
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
}

/** `ingress` is toward the endpoint (inbound rules). */
export type Direction = 'ingress' | 'egress';

/** Consecutive policies of a tier with one selector (2.4, 3.6). Order is the tier's order. */
export interface PolicyGroup {
  readonly direction: Direction;
  readonly selector: string;
  readonly policies: readonly PolicyID[];
}

/** One tier of an endpoint with its policies already grouped per direction. */
export interface TierPolicyGroups {
  readonly name: string;
  readonly defaultAction: string;
  readonly ingress: readonly PolicyGroup[];
  readonly egress: readonly PolicyGroup[];
}

/** What a workload endpoint's chains depend on. */
export interface WorkloadChainsInput {
  readonly interfaceName: string;
  readonly adminUp: boolean;
  readonly tiers: readonly TierPolicyGroups[];
  readonly profileIds: readonly string[];
  readonly qosControls?: QoSControls | undefined;
}

/** What a host endpoint's chains depend on. `interfaceName` may be `any-interface-at-all`. */
export interface HostChainsInput {
  readonly interfaceName: string;
  readonly tiers: readonly TierPolicyGroups[];
  readonly untrackedTiers: readonly TierPolicyGroups[];
  readonly preDnatTiers: readonly TierPolicyGroups[];
  readonly forwardTiers: readonly TierPolicyGroups[];
  readonly profileIds: readonly string[];
}

/** The chains and hook rules of one table that depend on configuration alone. */
export interface StaticTable {
  readonly chains: readonly Chain[];
  /** Kernel chain → rules to insert. */
  readonly inserted: ReadonlyMap<string, readonly Rule[]>;
  /** Kernel chain → rules that always go to its end. */
  readonly appended: ReadonlyMap<string, readonly Rule[]>;
}

/** What a change of names does to dispatch chains. */
export interface ChangedChains {
  /** Chains that are new or differ. */
  readonly changed: readonly Chain[];
  /** Names of chains that are not there any more. */
  readonly gone: readonly string[];
}

/** Dispatch chains that are kept up name by name. */
export interface DispatchTree {
  /**
   * Takes names in and out; those that are there already, or are not, are ignored. The first call gives the chains for
   * no names at all, too.
   */
  change(added: readonly string[], removed: readonly string[]): ChangedChains;
}

/** Chains and (nft) verdict maps that belong together. */
export interface DispatchChains {
  readonly chains: readonly Chain[];
  readonly maps: readonly VerdictMap[];
}

/** The pseudo interface of the `*` host endpoint; longer than IFNAMSIZ on purpose. */
export const ANY_INTERFACE = 'any-interface-at-all';

/** Renders all rules of one family and back end. Pure: equal inputs give equal (`===` in content) chains. */
export interface RuleRenderer {
  readonly options: RenderOptions;

  /** 3.2–3.4, 3.7: static chains and hooks of one table. */
  staticTable(table: TableName): StaticTable;

  /** 3.5: `[cali-pi-…, cali-po-…]` of a policy; empty for staged kinds. For filter; see {@link inTable} for raw and mangle. */
  policyChains(id: PolicyID, policy: Policy): readonly Chain[];
  /**
   * The chains of a policy or profile in the form that `table` takes: REJECT becomes DROP where the kernel refuses it
   * (differences.md row 5). Returns the same array when nothing changes, so always when the deny action is DROP.
   */
  inTable(table: TableName, chains: readonly Chain[]): readonly Chain[];
  /** 3.5: chains of a profile; `cali-pri-…` belongs in filter, `cali-pro-…` in filter and mangle. */
  profileChains(name: string, profile: Profile): { readonly inbound: Chain; readonly outbound: Chain };

  /** 2.4: true if the group has more than one non-staged policy, and so a chain of its own. */
  groupNeedsChain(group: PolicyGroup): boolean;
  /** 3.6, 3.11: name and rules of a group's own chain. */
  groupChainName(group: PolicyGroup): string;
  groupChain(group: PolicyGroup): Chain;

  /** 3.6: `cali-tw-…`, `cali-fw-…`, and in IPVS mode `cali-sm-…`, for the filter table. */
  workloadChains(input: WorkloadChainsInput): readonly Chain[];
  /** 3.6: `th`, `fh`, `thfw`, `fhfw` (and `sm` in IPVS mode) in filter. */
  hostFilterChains(input: HostChainsInput): readonly Chain[];
  /** 3.6: mangle `th` (always) and `fh` (only with pre-DNAT tiers). */
  hostMangleChains(input: HostChainsInput): readonly Chain[];
  /** 3.6: raw `th` and `fh`, only with untracked tiers; empty otherwise. */
  hostRawChains(input: HostChainsInput): readonly Chain[];

  /** 3.8: filter dispatch over workload interfaces, tree (iptables) or maps (nft). Order of names does not matter. */
  workloadDispatch(interfaceNames: Iterable<string>): DispatchChains;
  /** The same in its iptables form, kept up name by name. */
  createWorkloadDispatchTree(): DispatchTree;
  /** 3.8: the four filter dispatch chains over host endpoint interfaces; `ANY_INTERFACE` among the names = default. */
  hostFilterDispatch(interfaceNames: Iterable<string>): DispatchChains;
  /** 3.8: mangle `cali-to-host-endpoint` over all, `cali-from-host-endpoint` over those with pre-DNAT tiers. */
  hostMangleDispatch(all: Iterable<string>, withPreDnat: Iterable<string>): DispatchChains;
  /** 3.8: raw dispatch over host endpoints with untracked tiers, never a default. */
  hostRawDispatch(interfaceNames: Iterable<string>): DispatchChains;
  /** 3.8: IPVS: `cali-set-endpoint-mark` and `cali-from-endpoint-mark` trees; empty when not in IPVS mode. */
  endpointMarkDispatch(workloads: Iterable<string>, hosts: Iterable<string>): DispatchChains;
  /** IPVS: interfaces whose chains were closed for lack of a mark and that have one since: to be rendered again. Empties. */
  takeMarked(): readonly string[];

  /** 2.4: `cali-rpf-skip` (raw): interface → prefixes of this family, in list order; interfaces sorted here. */
  rpfSkipChain(prefixesByInterface: ReadonlyMap<string, readonly string[]>): Chain;
  /** 2.2: `cali-nat-outgoing` (nat); empty chain when not `active`. */
  natOutgoingChain(active: boolean): Chain;
  /**
   * 2.3: `cali-fip-dnat` and `cali-fip-snat` (nat). `dnats` is external → internal, `snats` internal → external
   * address. Conflicts already resolved; sorted here.
   */
  floatingIpChains(dnats: ReadonlyMap<string, string>, snats: ReadonlyMap<string, string>): readonly Chain[];
  /** 3.4: `cali-cidr-block` (filter). CIDRs of this family in any order; sorted here, duplicates kept. */
  cidrBlockChain(cidrs: readonly string[]): Chain;
  /** 2.5: `cali-egress-dscp` (mangle): one rule per source address without length. Sorted here. */
  dscpChain(values: readonly { readonly address: string; readonly dscp: number }[]): Chain;

  /** 5.7: ARP table (v4 renderer only): interface → addresses without length, in `ipv4_nets` order. */
  arpTable(addressesByInterface: ReadonlyMap<string, readonly string[]>): DispatchChains & {
    readonly inserted: ReadonlyMap<string, readonly Rule[]>;
  };
}
