// A stand-in for the managers, small enough to be read at once: keeps what a recording's messages say and renders
// all chains from scratch, so that hashes can be compared with the recorded kernel.
import { fromBinary } from '@bufbuild/protobuf';
import type { Chain, Rule, VerdictMap } from '../../src/model/chain.js';
import type { DataplaneConfig, ProtoPort } from '../../src/model/config.js';
import type { Family, TableName } from '../../src/model/family.js';
import { MODERN_FEATURES } from '../../src/model/features.js';
import {
  type HostEndpoint,
  type Policy,
  type PolicyID,
  type Profile,
  type TierInfo,
  type ToDataplane,
  ToDataplaneSchema,
  type WorkloadEndpoint,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../src/rules/create-rule-renderer.js';
import { ANY_INTERFACE, type PolicyGroup, type RuleRenderer, type TierPolicyGroups } from '../../src/rules/renderer.js';
import * as iptables from '../../src/tables/iptables/hash.js';
import * as nftables from '../../src/tables/nftables/hash.js';
import { layerName } from '../../src/tables/nftables/render.js';
import { testConfig, testEnvironment } from '../fakes/config.js';
import type { Mode } from '../fixtures/recording.js';

/** Chain name as in the kernel → hashes, in order. */
export type ChainHashes = Map<string, readonly string[]>;

/** What one table of one family should hold. */
export interface TableContent {
  readonly chains: Map<string, Chain>;
  readonly maps: readonly VerdictMap[];
  readonly inserted: ReadonlyMap<string, readonly Rule[]>;
  readonly appended: ReadonlyMap<string, readonly Rule[]>;
}

export const TABLES: readonly TableName[] = ['raw', 'mangle', 'nat', 'filter'];

export class RuleState {
  #rawConfig: Record<string, string> = {};
  #encapsulation = { ipipEnabled: false, vxlanEnabled: false, vxlanEnabledV6: false, noEncapEnabled: false };
  readonly #policies = new Map<string, { readonly id: PolicyID; readonly policy: Policy }>();
  readonly #profiles = new Map<string, Profile>();
  readonly #workloads = new Map<string, WorkloadEndpoint>();
  readonly #hosts = new Map<string, HostEndpoint>();
  readonly #pools = new Map<string, { readonly cidr: string; readonly masquerade: boolean }>();
  #serviceCidrs: string[] = [];
  readonly #hostAddresses: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #ipvs: boolean;

  /** `hostScript` tells the addresses of host interfaces and whether kube-ipvs0 exists. */
  constructor(hostScript: string) {
    const addresses = new Map<string, Set<string>>();
    for (const [, address = '', name = ''] of hostScript.matchAll(/addr add (\S+)\/\d+ dev (\S+)/g)) {
      addresses.set(name, (addresses.get(name) ?? new Set()).add(address));
    }
    this.#hostAddresses = addresses;
    this.#ipvs = hostScript.includes('kube-ipvs0');
  }

  apply(frame: Uint8Array): void {
    this.#handle(fromBinary(ToDataplaneSchema, frame).payload);
  }

  #handle(payload: ToDataplane['payload']): void {
    switch (payload.case) {
      case 'configUpdate':
        this.#rawConfig = payload.value.config;
        break;
      case 'encapsulation':
        this.#encapsulation = payload.value;
        break;
      case 'activePolicyUpdate': {
        const { id, policy } = payload.value;
        if (id !== undefined && policy !== undefined) this.#policies.set(policyKey(id), { id, policy });
        break;
      }
      case 'activePolicyRemove':
        if (payload.value.id !== undefined) this.#policies.delete(policyKey(payload.value.id));
        break;
      case 'activeProfileUpdate':
        if (payload.value.profile !== undefined)
          this.#profiles.set(payload.value.id?.name ?? '', payload.value.profile);
        break;
      case 'activeProfileRemove':
        this.#profiles.delete(payload.value.id?.name ?? '');
        break;
      case 'workloadEndpointUpdate':
        if (payload.value.endpoint !== undefined) this.#workloads.set(idKey(payload.value.id), payload.value.endpoint);
        break;
      case 'workloadEndpointRemove':
        this.#workloads.delete(idKey(payload.value.id));
        break;
      case 'hostEndpointUpdate':
        if (payload.value.endpoint !== undefined) {
          this.#hosts.set(payload.value.id?.endpointId ?? '', payload.value.endpoint);
        }
        break;
      case 'hostEndpointRemove':
        this.#hosts.delete(payload.value.id?.endpointId ?? '');
        break;
      case 'ipamPoolUpdate':
        if (payload.value.pool !== undefined) this.#pools.set(payload.value.id, payload.value.pool);
        break;
      case 'ipamPoolRemove':
        this.#pools.delete(payload.value.id);
        break;
      case 'globalBgpConfigUpdate': {
        const update = payload.value;
        this.#serviceCidrs = [
          ...update.serviceClusterCidrs,
          ...update.serviceExternalCidrs,
          ...update.serviceLoadbalancerCidrs,
        ];
        break;
      }
      default:
        break;
    }
  }

  /** Hashes of every chain that would be programmed, by table and kernel chain name. */
  hashes(mode: Mode, family: Family): Map<TableName, ChainHashes> {
    const renderer = this.renderer(mode, family);
    const result = new Map<TableName, ChainHashes>();
    for (const table of TABLES) {
      const content = this.table(renderer, table);
      result.set(table, mode === 'nftables' ? nftHashes(content, family, table) : iptablesHashes(content, family));
    }
    return result;
  }

  /** Hashes of the ARP table. */
  arpHashes(mode: Mode): ChainHashes {
    const addresses = new Map(
      this.#activeWorkloads().map((each) => [each.name, each.ipv4Nets.map((net) => withoutLength(net))]),
    );
    const { chains, maps, inserted } = this.renderer(mode, 4).arpTable(addresses);
    const content = { chains: byName(chains), maps, inserted, appended: new Map() };
    return nftHashes(content, 'arp', 'filter');
  }

  renderer(mode: Mode, family: Family): RuleRenderer {
    const backend = mode === 'nftables' ? 'nftables' : 'iptables';
    const environment = testEnvironment({ ...this.#encapsulation, backend, ipvs: this.#ipvs });
    return createRuleRenderer({ family, backend, config: configOf(this.#rawConfig), environment });
  }

  /** All chains of a table, programmed or not. */
  table(renderer: RuleRenderer, table: TableName): TableContent {
    const fixed = renderer.staticTable(table);
    const chains = [...fixed.chains];
    const maps: VerdictMap[] = [];
    if (table === 'nat') chains.push(...this.#natChains(renderer));
    else {
      for (const { id, policy } of this.#policies.values()) {
        chains.push(...renderer.inTable(table, renderer.policyChains(id, policy)));
      }
      for (const [name, profile] of this.#profiles) {
        const { inbound, outbound } = renderer.profileChains(name, profile);
        chains.push(...renderer.inTable(table, table === 'filter' ? [inbound, outbound] : [outbound]));
      }
      chains.push(...this.#groupChains(renderer));
      maps.push(...this.#endpointChains(renderer, table, chains));
    }
    return { chains: byName(chains), maps, inserted: fixed.inserted, appended: fixed.appended };
  }

  #natChains(renderer: RuleRenderer): Chain[] {
    const isOurs = (text: string): boolean => text.includes(':') === (renderer.options.family === 6);
    const active = [...this.#pools.values()].some((pool) => pool.masquerade && isOurs(pool.cidr));
    const dnats = new Map<string, string>();
    const snats = new Map<string, string>();
    if (renderer.options.config.floatingIPs === 'Enabled') {
      for (const workload of this.#activeWorkloads()) {
        for (const { extIp, intIp } of [...workload.ipv4Nat, ...workload.ipv6Nat]) {
          if (!isOurs(extIp)) continue;
          dnats.set(extIp, intIp);
          snats.set(intIp, extIp);
        }
      }
    }
    return [renderer.natOutgoingChain(active), ...renderer.floatingIpChains(dnats, snats)];
  }

  #groupChains(renderer: RuleRenderer): Chain[] {
    const tiers = [
      ...[...this.#workloads.values()].flatMap((each) => each.tiers),
      ...[...this.#hosts.values()].flatMap((each) => [
        ...each.tiers,
        ...each.untrackedTiers,
        ...each.preDnatTiers,
        ...each.forwardTiers,
      ]),
    ];
    return this.#grouped(tiers)
      .flatMap((tier) => [...tier.ingress, ...tier.egress])
      .filter((group) => renderer.groupNeedsChain(group))
      .map((group) => renderer.groupChain(group));
  }

  #endpointChains(renderer: RuleRenderer, table: TableName, chains: Chain[]): readonly VerdictMap[] {
    const hosts = this.#resolvedHosts();
    const hostInputs = [...hosts].map(([interfaceName, host]) => ({
      interfaceName,
      tiers: this.#grouped(host.tiers),
      untrackedTiers: interfaceName === ANY_INTERFACE ? [] : this.#grouped(host.untrackedTiers),
      preDnatTiers: this.#grouped(host.preDnatTiers),
      forwardTiers: this.#grouped(host.forwardTiers),
      profileIds: host.profileIds,
    }));
    const names = [...hosts.keys()];
    const workloads = this.#activeWorkloads();
    switch (table) {
      case 'raw': {
        const spoofing = new Map(
          workloads.map((each) => [
            each.name,
            each.allowSpoofedSourcePrefixes.filter((net) => net.includes(':') === (renderer.options.family === 6)),
          ]),
        );
        const untracked = hostInputs.filter((input) => input.untrackedTiers.length > 0);
        chains.push(renderer.rpfSkipChain(spoofing), ...hostInputs.flatMap((input) => renderer.hostRawChains(input)));
        chains.push(...renderer.hostRawDispatch(untracked.map((input) => input.interfaceName)).chains);
        return [];
      }
      case 'mangle': {
        const preDnat = hostInputs.filter((input) => input.preDnatTiers.length > 0);
        chains.push(renderer.dscpChain(this.#dscpValues(renderer.options.family)));
        chains.push(...hostInputs.flatMap((input) => renderer.hostMangleChains(input)));
        chains.push(
          ...renderer.hostMangleDispatch(
            names,
            preDnat.map((input) => input.interfaceName),
          ).chains,
        );
        return [];
      }
      default: {
        for (const each of workloads) {
          chains.push(
            ...renderer.workloadChains({
              interfaceName: each.name,
              adminUp: each.state === 'active',
              tiers: this.#grouped(each.tiers),
              profileIds: each.profileIds,
              qosControls: each.qosControls,
            }),
          );
        }
        chains.push(...hostInputs.flatMap((input) => renderer.hostFilterChains(input)));
        chains.push(...renderer.hostFilterDispatch(names).chains);
        const workloadNames = workloads.map((each) => each.name);
        chains.push(...renderer.endpointMarkDispatch(workloadNames, names).chains);
        chains.push(renderer.cidrBlockChain(this.#serviceCidrsOf(renderer.options.family)));
        const dispatch = renderer.workloadDispatch(workloadNames);
        chains.push(...dispatch.chains);
        return dispatch.maps;
      }
    }
  }

  #serviceCidrsOf(family: Family): string[] {
    return this.#serviceCidrs.filter((cidr) => cidr.includes(':') === (family === 6));
  }

  #dscpValues(family: Family): { address: string; dscp: number }[] {
    const values: { address: string; dscp: number }[] = [];
    for (const each of this.#workloads.values()) {
      const dscp = each.qosPolicies[0]?.dscp;
      if (dscp === undefined) continue;
      const nets = family === 4 ? each.ipv4Nets : each.ipv6Nets;
      for (const net of nets) values.push({ address: withoutLength(net), dscp });
    }
    return values;
  }

  /** One endpoint an interface: the lowest id wins. */
  #activeWorkloads(): WorkloadEndpoint[] {
    const result = new Map<string, WorkloadEndpoint>();
    for (const [, workload] of [...this.#workloads].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (!result.has(workload.name)) result.set(workload.name, workload);
    }
    return [...result.values()];
  }

  #resolvedHosts(): Map<string, HostEndpoint> {
    const sorted = [...this.#hosts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, host]) => host);
    const result = new Map<string, HostEndpoint>();
    for (const [name, addresses] of this.#hostAddresses) {
      const found = sorted.find(
        (host) =>
          host.name === name ||
          (host.name === '' && [...host.expectedIpv4Addrs, ...host.expectedIpv6Addrs].some((ip) => addresses.has(ip))),
      );
      if (found !== undefined) result.set(name, found);
    }
    const all = sorted.find((host) => host.name === '*');
    if (all !== undefined) result.set(ANY_INTERFACE, all);
    return result;
  }

  #grouped(tiers: readonly TierInfo[]): TierPolicyGroups[] {
    const group = (direction: 'ingress' | 'egress', ids: readonly PolicyID[]): PolicyGroup[] => {
      const groups: { direction: 'ingress' | 'egress'; selector: string; policies: PolicyID[] }[] = [];
      for (const id of ids) {
        const selector = this.#policies.get(policyKey(id))?.policy.originalSelector ?? '';
        const last = groups.at(-1);
        if (last?.selector === selector) last.policies.push(id);
        else groups.push({ direction, selector, policies: [id] });
      }
      return groups;
    };
    return tiers.map((tier) => ({
      name: tier.name,
      defaultAction: tier.defaultAction,
      ingress: group('ingress', tier.ingressPolicies),
      egress: group('egress', tier.egressPolicies),
    }));
  }
}

/** Names of the chains that hooks, forced chains and maps reach. Throws if one is not declared. */
export function reachable(content: TableContent): Set<string> {
  const seen = new Set<string>();
  const visit = (rules: readonly Rule[]): void => {
    for (const { action, match } of rules) {
      if (action?.kind === 'jump' || action?.kind === 'goto') visitChain(action.chain);
      for (const each of match) {
        if (each.kind !== 'in-interface-map' && each.kind !== 'out-interface-map') continue;
        const map = content.maps.find(({ name }) => name === each.map);
        for (const chain of map?.elements.values() ?? []) visitChain(chain);
      }
    }
  };
  const visitChain = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const chain = content.chains.get(name);
    if (chain === undefined) throw new Error(`jump to a chain that nobody declares: ${name}`);
    visit(chain.rules);
  };
  for (const rules of [...content.inserted.values(), ...content.appended.values()]) visit(rules);
  for (const chain of content.chains.values()) if (chain.forced === true) visitChain(chain.name);
  return seen;
}

function iptablesHashes(content: TableContent, family: Family): ChainHashes {
  const ctx = { family, features: MODERN_FEATURES };
  const result: ChainHashes = new Map();
  for (const hook of new Set([...content.inserted.keys(), ...content.appended.keys()])) {
    const appended = iptables.appendedChainName(hook);
    result.set(hook, [
      ...iptables.ruleHashes(hook, content.inserted.get(hook) ?? [], ctx),
      ...iptables.ruleHashes(appended, content.appended.get(hook) ?? [], ctx),
    ]);
  }
  for (const name of reachable(content)) {
    result.set(name, iptables.renderChain(name, content.chains.get(name)?.rules ?? [], ctx).hashes);
  }
  return result;
}

function nftHashes(content: TableContent, family: Family | 'arp', layer: TableName): ChainHashes {
  const ctx = { family, features: MODERN_FEATURES, layer };
  const result: ChainHashes = new Map();
  for (const hook of new Set([...content.inserted.keys(), ...content.appended.keys()])) {
    const appended = nftables.appendedChainName(hook);
    result.set(layerName(layer, hook), [
      ...nftables.ruleHashes(hook, content.inserted.get(hook) ?? [], ctx),
      ...nftables.ruleHashes(appended, content.appended.get(hook) ?? [], ctx),
    ]);
  }
  for (const name of reachable(content)) {
    const rendered = nftables.renderChain(name, content.chains.get(name)?.rules ?? [], ctx);
    result.set(layerName(layer, name), rendered.hashes);
  }
  return result;
}

function byName(chains: readonly Chain[]): Map<string, Chain> {
  return new Map(chains.map((chain) => [chain.name, chain]));
}

function policyKey(id: PolicyID): string {
  return `${id.kind}/${id.namespace}/${id.name}`;
}

function idKey(id: { orchestratorId: string; workloadId: string; endpointId: string } | undefined): string {
  return `${id?.orchestratorId}\n${id?.workloadId}\n${id?.endpointId}`;
}

function withoutLength(net: string): string {
  return net.replace(/\/.*/, '');
}

/** The parameters that the recordings set and rules depend on; the real parser is another room's. */
function configOf(raw: Record<string, string>): DataplaneConfig {
  const or = <Value>(key: string, parse: (text: string) => Value, otherwise: Value): Value =>
    raw[key] === undefined ? otherwise : parse(raw[key]);
  const plain = testConfig();
  const deny = or('IptablesFilterDenyAction', (text) => (text === 'REJECT' ? 'REJECT' : 'DROP'), 'DROP');
  const mangle = or('IptablesMangleAllowAction', (text) => (text === 'RETURN' ? 'RETURN' : 'ACCEPT'), 'ACCEPT');
  return testConfig({
    filterDenyAction: { iptables: deny, nftables: deny },
    mangleAllowAction: { iptables: mangle, nftables: 'ACCEPT' },
    defaultEndpointToHostAction: or('DefaultEndpointToHostAction', () => 'ACCEPT' as const, 'DROP'),
    logPrefix: raw['LogPrefix'] ?? plain.logPrefix,
    ipInIpTunnelAddr: raw['IpInIpTunnelAddr'] ?? null,
    ipv4VXLANTunnelAddr: raw['IPv4VXLANTunnelAddr'] ?? null,
    failsafeInboundHostPorts: or('FailsafeInboundHostPorts', parsePorts, plain.failsafeInboundHostPorts),
    failsafeOutboundHostPorts: or('FailsafeOutboundHostPorts', parsePorts, plain.failsafeOutboundHostPorts),
    flowLogsEnabled: raw['FlowLogsGoldmaneServer'] !== undefined,
    iptablesNATOutgoingInterfaceFilter: raw['IptablesNATOutgoingInterfaceFilter'] ?? '',
    natOutgoingAddress: raw['NATOutgoingAddress'] ?? null,
    natOutgoingExclusions: or('NATOutgoingExclusions', () => 'IPPoolsAndHostIPs' as const, 'IPPoolsOnly'),
    natPortRange: or('NATPortRange', parseRange, null),
    floatingIPs: or('FloatingIPs', () => 'Enabled' as const, 'Disabled'),
  });
}

function parseRange(text: string): { first: number; last: number } {
  const [first = 0, last = 0] = text.split(':').map(Number);
  return { first, last };
}

function parsePorts(text: string): ProtoPort[] {
  if (text === 'none') return [];
  return text.split(',').map((entry) => {
    const [protocol = '', ...rest] = entry.split(':');
    const port = Number(rest.pop());
    return rest[0] === undefined ? { protocol, port } : { protocol, port, net: rest[0] };
  });
}
