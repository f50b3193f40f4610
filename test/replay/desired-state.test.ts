// Plays every recording through the managers and the real renderer into memory, and compares what they want with what
// Felix's own dataplane left in the kernel: chains and rule hashes, sets, ARP table, routes of workloads, statuses.
import { create, fromBinary, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { canonicalCidr } from '../../src/base/ip.js';
import { parseConfig } from '../../src/driver/config/config.js';
import { StatusCombiner } from '../../src/driver/status-combiner.js';
import type { DataplaneMessage } from '../../src/managers/manager.js';
import type { DataplaneEnvironment } from '../../src/model/config.js';
import { type Family, FAMILIES, type TableName } from '../../src/model/family.js';
import { MODERN_FEATURES } from '../../src/model/features.js';
import { ipSetName, OWN_SET_IDS } from '../../src/model/ip-set.js';
import {
  type ConfigUpdate,
  type Encapsulation,
  EncapsulationSchema,
  FromDataplaneSchema,
  type HostEndpointID,
  RawConfigSchema,
  ToDataplaneSchema,
  type WorkloadEndpoint,
  type WorkloadEndpointID,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { appendedChainName, ruleHashes } from '../../src/tables/iptables/hash.js';
import { ruleHashes as nftRuleHashes } from '../../src/tables/nftables/hash.js';
import type { EndpointStatus } from '../../src/model/status.js';
import { ManagedNode } from '../fakes/managed-node.js';
import type { MemoryRuleTable } from '../fakes/rule-table.js';
import { MemoryStatus } from '../fakes/status.js';
import { loadRecording, type Mode, MODES, type Recording, recordingNames, splitFrames } from '../fixtures/recording.js';
import { type ChainHashes, readIpsetDump, readIptablesDump, readNftDump, readRoutes } from './dumps.js';
import { readHost } from './host.js';

/** Sets of managers that are not under test here. */
const FOREIGN_SETS = [OWN_SET_IDS.allVxlan];

/** Chains whose rules differ from Felix's on purpose (differences.md), with the row. */
const DIFFERENT_CHAINS: Partial<Record<Mode, Readonly<Record<string, string>>>> = {
  nftables: { 'filter-cali-OUTPUT': 'row 2' },
};

/** Passes statuses on to the real combiner. */
class CombinedStatus extends MemoryStatus {
  readonly combiner = new StatusCombiner();

  override setWorkloadStatus(
    family: Family,
    id: WorkloadEndpointID,
    status: EndpointStatus | null,
    endpoint: WorkloadEndpoint | null,
  ): void {
    super.setWorkloadStatus(family, id, status, endpoint);
    this.combiner.setWorkloadStatus(family, id, status, endpoint);
  }

  override setHostStatus(family: Family, id: HostEndpointID, status: EndpointStatus | null): void {
    super.setHostStatus(family, id, status);
    this.combiner.setHostStatus(family, id, status);
  }
}

const ENVIRONMENT_SOURCE = 5;

function modeConfig(update: ConfigUpdate, mode: Mode): ConfigUpdate {
  const values: Record<string, string> = {
    NFTablesMode: mode === 'nftables' ? 'Enabled' : 'Disabled',
    IptablesBackend: mode === 'iptables-nft' ? 'NFT' : 'Legacy',
  };
  Object.assign(update.config, values);
  const raw =
    update.sourceToRawConfig[ENVIRONMENT_SOURCE] ?? create(RawConfigSchema, { source: 'environment variable' });
  Object.assign(raw.config, values);
  update.sourceToRawConfig[ENVIRONMENT_SOURCE] = raw;
  return update;
}

function environmentOf(mode: Mode, encapsulation: Encapsulation, recording: Recording): DataplaneEnvironment {
  return {
    backend: mode === 'nftables' ? 'nftables' : 'iptables',
    ipvs: recording.hostScript.includes('kube-ipvs0'),
    ipipEnabled: encapsulation.ipipEnabled,
    vxlanEnabled: encapsulation.vxlanEnabled,
    vxlanEnabledV6: encapsulation.vxlanEnabledV6,
    noEncapEnabled: encapsulation.noEncapEnabled,
    hostMtu: 1500,
    defaultRpFilter: '0',
  };
}

interface Play {
  readonly node: ManagedNode;
  readonly combiner: StatusCombiner;
  readonly messages: readonly DataplaneMessage[];
}

function startPlay(recording: Recording, mode: Mode): Play {
  const messages = splitFrames(recording.stream).map((frame) => fromBinary(ToDataplaneSchema, frame).payload);
  const configUpdate = messages.flatMap((message) => (message.case === 'configUpdate' ? [message.value] : [])).at(-1);
  const encapsulation = messages.flatMap((message) => (message.case === 'encapsulation' ? [message.value] : [])).at(-1);
  if (configUpdate === undefined) throw new Error('no ConfigUpdate');
  const { config } = parseConfig(modeConfig(configUpdate, mode), 'node-a');
  const status = new CombinedStatus();
  const environment = environmentOf(mode, encapsulation ?? create(EncapsulationSchema), recording);
  const node = new ManagedNode({ config, environment, status });
  for (const { state, addresses } of readHost(recording.hostScript)) {
    node.setInterface(state.name, state.state, addresses === null ? undefined : [...(addresses.addresses ?? [])]);
  }
  return { node, combiner: status.combiner, messages };
}

/** Chains of one table with their hashes, as they would stand in the kernel. */
function wantedChains(table: MemoryRuleTable, family: Family, mode: Mode): ChainHashes {
  const isNft = mode === 'nftables';
  const hashes = (name: string, rules: Parameters<typeof ruleHashes>[1]): string[] =>
    isNft
      ? nftRuleHashes(name, rules, { family, features: MODERN_FEATURES, layer: table.table })
      : ruleHashes(name, rules, { family, features: MODERN_FEATURES });
  const name = (chain: string): string => (isNft ? `${table.table}-${chain}` : chain);
  const chains: ChainHashes = new Map();
  for (const chain of table.programmed().values()) chains.set(name(chain.name), hashes(chain.name, chain.rules));
  for (const hook of new Set([...table.inserted.keys(), ...table.appended.keys()])) {
    const own = [
      ...hashes(hook, table.inserted.get(hook) ?? []),
      ...hashes(appendedChainName(hook), table.appended.get(hook) ?? []),
    ];
    if (own.length > 0) chains.set(name(hook), own);
  }
  return chains;
}

function sorted(chains: ChainHashes): [string, string[]][] {
  return [...chains].sort(([left], [right]) => (left < right ? -1 : 1));
}

/** Leaves only the name of chains that differ on purpose. */
function withoutDifferences(chains: ChainHashes, mode: Mode): [string, unknown][] {
  const different = DIFFERENT_CHAINS[mode] ?? {};
  return sorted(chains).map(([name, hashes]) => [name, different[name] ?? hashes]);
}

function kernelMember(member: string): string {
  const [address = '', port] = member.split(',');
  const text = (canonicalCidr(address) ?? address).replace(/^([^:]+)\/32$|\/128$/, '$1');
  return port === undefined ? text : `${text},${port}`;
}

/** `ipset save` prints a /32 or /128 without its length. */
function wantedSets(node: ManagedNode, skipThisHost: boolean): [string, string[]][] {
  return FAMILIES.flatMap((family) =>
    [...node.sinks(family).ipSets.sets.keys()]
      .filter((id) => !(skipThisHost && id === OWN_SET_IDS.thisHost))
      .map((id): [string, string[]] => [
        ipSetName(family, id),
        (node.sinks(family).ipSets.members(id) ?? []).map(kernelMember).sort(),
      ]),
  ).sort(([left], [right]) => (left < right ? -1 : 1));
}

function statusLines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.includes('endpoint_status'))
    .map((line) => canonicalJson(JSON.parse(line)))
    .sort();
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([left], [right]) => (left < right ? -1 : 1)))
      : inner,
  );
}

function compareTables(play: Play, mode: Mode, files: Record<string, string>): void {
  for (const family of FAMILIES) {
    const { tables } = play.node.sinks(family);
    if (mode === 'nftables') {
      const wanted: ChainHashes = new Map();
      for (const table of Object.values(tables)) {
        for (const [name, hashes] of wantedChains(table, family, mode)) wanted.set(name, hashes);
      }
      const dump = readNftDump(files['nft.txt'] ?? '').get(family === 4 ? 'ip calico' : 'ip6 calico');
      expect(withoutDifferences(wanted, mode)).toEqual(withoutDifferences(dump?.chains ?? new Map(), mode));
      const maps = [...tables.filter.maps.values()].map(({ name, elements }) => [
        `filter-${name}`,
        [...elements].map(([key, chain]) => [key, `filter-${chain}`]).sort(),
      ]);
      expect(maps.sort()).toEqual([...(dump?.maps ?? [])].map(([name, map]) => [name, [...map].sort()]).sort());
    } else {
      const program = family === 4 ? 'iptables' : 'ip6tables';
      const dump = readIptablesDump(files[`${program}-${mode.slice('iptables-'.length)}.txt`] ?? '');
      for (const name of ['raw', 'mangle', 'nat', 'filter'] as const satisfies readonly TableName[]) {
        expect([name, sorted(wantedChains(tables[name], family, mode))]).toEqual([
          name,
          sorted(dump.get(name) ?? new Map()),
        ]);
      }
    }
  }
}

function compareArp(play: Play, files: Record<string, string>): void {
  const { arpTable } = play.node;
  const dump = readNftDump(files['nft.txt'] ?? '').get('arp calico-arp');
  const wanted: ChainHashes = new Map();
  const ctx = { family: 'arp', features: MODERN_FEATURES, layer: 'filter' } as const;
  for (const { name, rules } of arpTable.programmed().values()) {
    wanted.set(`filter-${name}`, nftRuleHashes(name, rules, ctx));
  }
  for (const [hook, rules] of arpTable.inserted) wanted.set(`filter-${hook}`, nftRuleHashes(hook, rules, ctx));
  expect(sorted(wanted)).toEqual(sorted(dump?.chains ?? new Map()));
  const elements = [...(arpTable.maps.get('cali-arp-dispatch')?.elements ?? [])].map(([key, chain]) => [
    key,
    `filter-${chain}`,
  ]);
  expect(elements.sort()).toEqual([...(dump?.maps.get('filter-cali-arp-dispatch') ?? [])].sort());
}

function compareSets(play: Play, files: Record<string, string>): void {
  // The addresses of tunnel devices are in this-host, and no tunnel manager runs here.
  const hasTunnel = (files['links.txt'] ?? '').includes('vxlan') || (files['links.txt'] ?? '').includes('tunl0');
  const foreign = FAMILIES.flatMap((family) => FOREIGN_SETS.map((id) => ipSetName(family, id)));
  if (hasTunnel) foreign.push(...FAMILIES.map((family) => ipSetName(family, OWN_SET_IDS.thisHost)));
  const dump = [...readIpsetDump(files['ipset.txt'] ?? '')].filter(([name]) => !foreign.includes(name));
  expect(wantedSets(play.node, hasTunnel)).toEqual(dump.sort(([left], [right]) => (left < right ? -1 : 1)));
}

function compareRoutes(play: Play, recording: Recording, files: Record<string, string>): void {
  for (const family of FAMILIES) {
    for (const { state } of readHost(recording.hostScript)) {
      if (!state.name.startsWith('cali') || state.state !== 'up') continue;
      const wanted = play.node.sinks(family).routes.of('local-workload', state.name);
      const texts = wanted.map(({ dst, priority }) => `${dst.replace(/\/(32|128)$/, '')} ${priority}`).sort();
      expect([state.name, texts]).toEqual([state.name, readRoutes(files[`route${family}.txt`] ?? '', state.name)]);
    }
  }
}

describe.each(recordingNames())('recording %s', (name) => {
  const recording = loadRecording(name);
  const modes = MODES.filter((mode) => recording.expected[mode] !== undefined);
  // Felix fails on some recordings; there the managers must still want something in every mode.
  const rows = (modes.length > 0 ? modes : MODES).flatMap((mode) => [
    { mode, batching: 'a batch a step' as const },
    { mode, batching: 'an apply a message' as const },
  ]);

  it.each(rows)('$mode, $batching: the wanted state is what Felix programs', ({ mode, batching }) => {
    const play = startPlay(recording, mode);
    let sent = 0;
    recording.steps.steps.forEach((step, index) => {
      for (const message of play.messages.slice(sent, step.frames)) {
        play.node.send(message);
        if (batching === 'an apply a message') play.node.apply();
      }
      sent = step.frames;
      play.node.apply();
      const messages = play.combiner.drain().messages;
      const files = recording.expected[mode]?.[`${String(index).padStart(2, '0')}-${step.name}`];
      if (files === undefined) {
        expect(play.node.v4.tables.filter.programmed().size).toBeGreaterThan(0);
        return;
      }
      compareTables(play, mode, files);
      compareArp(play, files);
      if (mode !== 'nftables') compareSets(play, files);
      compareRoutes(play, recording, files);
      const statuses = messages.map((payload) =>
        canonicalJson(
          toJson(FromDataplaneSchema, create(FromDataplaneSchema, { payload }), { useProtoFieldName: true }),
        ),
      );
      expect(statuses.sort()).toEqual(statusLines(files['status.txt'] ?? ''));
    });
  });
});
