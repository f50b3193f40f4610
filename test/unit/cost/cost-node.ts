// A node whose managers, tables and sets are the real ones, over kernels in memory that count what reaches them.
import { silentLogger } from '../../../src/base/logger.js';
import { DataplaneLoop } from '../../../src/driver/loop.js';
import { applyOnce, type ApplyPhases } from '../../../src/driver/phases.js';
import { commandIpSetIo } from '../../../src/ipsets/command-io.js';
import { IpSetPlane } from '../../../src/ipsets/ip-set-plane.js';
import type { IpSetReconciler } from '../../../src/ipsets/ip-sets.js';
import { createPolicyManagers, type FamilySinks } from '../../../src/managers/create-managers.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import type { FamilyTables } from '../../../src/managers/static-rules.js';
import { FAMILIES, type Family, type TableName } from '../../../src/model/family.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { Reconciler } from '../../../src/model/reconciler.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import { IptablesTable } from '../../../src/tables/iptables/iptables-table.js';
import { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeCommandRunner } from '../../fakes/command-runner.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { FakeIpSetKernel } from '../../fakes/ipset-kernel.js';
import { FakeIptablesKernel } from '../../fakes/iptables-kernel.js';
import { ipSet, policy, profile, tier, workload } from '../../fakes/messages.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';
import { MemoryBgpPeers, MemoryLinkAddresses, MemoryRouteTable } from '../../fakes/route-table.js';
import { MemoryRuleTable } from '../../fakes/rule-table.js';
import { MemoryBandwidth, MemorySysctls } from '../../fakes/settings.js';
import { MemoryStatus } from '../../fakes/status.js';

export const COST_MODES = ['nftables', 'iptables-nft', 'iptables-legacy'] as const;
export type CostMode = (typeof COST_MODES)[number];

/** What an update cost. */
export interface Cost {
  readonly operations: number;
  /** Transactions and restores, of tables and sets. */
  readonly writes: number;
  readonly bytes: number;
  /** Listings and saves: a process each where there is no netlink, while writes go to tools that are kept open. */
  readonly reads: number;
  /** Chains that managers made from messages and handed to tables, of both families. */
  readonly rendered: number;
}

const TABLES: readonly TableName[] = ['raw', 'mangle', 'nat', 'filter'];
const POLICIES = 10;
const STEP_MS = 1_000;
const GROUPS = 'abcdefghij';

/** Message of pod `index`; its interface is in one of ten groups of the dispatch tree. */
export function pod(index: number): DataplaneMessage {
  const group = GROUPS[index % GROUPS.length] ?? '';
  return namedPod(`cali${group}${String(index).padStart(5, '0')}`, `10.65.${index >> 8}.${index & 255}`);
}

/** A pod with five of the policies. */
export function namedPod(name: string, address: string): DataplaneMessage {
  const names = Array.from({ length: 5 }, (_, index) => `gnp/policy-${index}`);
  return workload(`default/${name}`, name, {
    ipv4Nets: [`${address}/32`],
    tiers: [tier(names, [])],
    profileIds: ['open'],
  });
}

/** A policy with rules by set. */
export function policyWith(index: number, ports: readonly number[]): DataplaneMessage {
  return policy(`gnp/policy-${index}`, {
    originalSelector: `policy == ${index}`,
    inboundRules: ports.map((port) => ({
      action: 'allow',
      protocol: { numberOrName: { case: 'name', value: 'tcp' } },
      dstPorts: [{ first: port, last: port }],
      srcIpSetIds: [`s:set-${index}`],
    })),
    outboundRules: [],
  });
}

export class CostNode {
  readonly clock = new FakeClock();
  readonly phases: ApplyPhases;
  readonly nft = new FakeNftKernel();
  readonly iptables: FakeIptablesKernel;
  readonly #sets = new FakeIpSetKernel();
  readonly #runner = new FakeCommandRunner({ ipset: this.#sets.program });
  readonly #status = new MemoryStatus();
  operations = 0;
  #rendered = 0;
  loop: DataplaneLoop | null = null;

  private constructor(mode: CostMode) {
    const config = testConfig();
    const variant = mode === 'iptables-legacy' ? 'legacy' : 'nft';
    const ruleBackend = mode === 'nftables' ? 'nftables' : 'iptables';
    const environment = testEnvironment({ backend: ruleBackend });
    this.iptables = new FakeIptablesKernel(variant);
    this.iptables.tellsComments = variant === 'legacy';
    const tables: Reconciler[] = [];
    const ipSets: IpSetReconciler[] = [];
    const common = {
      clock: this.clock,
      log: silentLogger,
      features: MODERN_FEATURES,
      onOperation: () => {
        this.operations += 1;
      },
    };
    const counted = (layers: FamilyTables): FamilyTables => {
      for (const layer of Object.values(layers)) {
        const setChain = layer.setChain.bind(layer);
        layer.setChain = (chain) => {
          this.#rendered += 1;
          setChain(chain);
        };
      }
      return layers;
    };
    const backend = (family: Family): { tables: FamilyTables; ipSets: IpSetReconciler } => {
      if (mode === 'nftables') {
        this.nft.tellsGeneration = true;
        const plane = new NftablesPlane({
          ...common,
          family: family === 4 ? 'ip' : 'ip6',
          refreshIntervalMs: config.refreshIntervalMs.nftables,
          io: this.nft,
          required: true,
        });
        tables.push(plane);
        const layers = Object.fromEntries(TABLES.map((name) => [name, plane.layer(name)])) as unknown as FamilyTables;
        return { tables: counted(layers), ipSets: plane.sets };
      }
      if (variant === 'nft') this.iptables.currentEpoch = 0;
      this.iptables.beforeRestore = () => {
        for (const name of this.#sets.sets.keys()) this.iptables.sets.add(name);
      };
      const made = TABLES.map(
        (table) =>
          new IptablesTable({
            ...common,
            family,
            table,
            backend: variant,
            insertMode: 'insert',
            refreshIntervalMs: config.refreshIntervalMs.iptables,
            postWriteCheckIntervalMs: config.iptablesPostWriteCheckIntervalMs,
            io: this.iptables,
          }),
      );
      tables.push(...made);
      const sets = new IpSetPlane({ ...common, family, maxDeletionsPerApply: 1, io: commandIpSetIo(this.#runner) });
      return {
        tables: counted(Object.fromEntries(made.map((table) => [table.table, table])) as unknown as FamilyTables),
        ipSets: sets,
      };
    };
    const sinks = FAMILIES.map((family): FamilySinks => {
      const made = backend(family);
      ipSets.push(made.ipSets);
      return {
        renderer: createRuleRenderer({ family, backend: ruleBackend, config, environment }),
        ...made,
        routes: new MemoryRouteTable(family),
        linkAddresses: new MemoryLinkAddresses(family),
        bgpPeers: new MemoryBgpPeers(),
      };
    });
    const [v4, v6] = sinks;
    if (v4 === undefined || v6 === undefined) throw new Error('two families are expected');
    const { managers } = createPolicyManagers({
      v4,
      v6,
      arpTable: new MemoryRuleTable(4, 'filter'),
      sysctls: new MemorySysctls(),
      bandwidth: new MemoryBandwidth(),
      status: this.#status,
      log: silentLogger,
    });
    this.phases = {
      managers,
      interfaceSettings: [],
      ipSets,
      links: [],
      routes: [],
      tables,
      untilTablesAreSent: () => Promise.resolve(),
      cleanups: [],
    };
  }

  /** A node with so many pods, in sync. */
  static async create(mode: CostMode, pods: number): Promise<CostNode> {
    const node = new CostNode(mode);
    const messages = [profile('open')];
    for (let index = 0; index < POLICIES; index++) {
      messages.push(ipSet(`s:set-${index}`, [`10.100.${index}.1/32`]), policyWith(index, [80, 443]));
    }
    for (let index = 0; index < pods; index++) messages.push(pod(index));
    for (const group of ['zz001', 'zz002']) messages.push(namedPod(`cali${group}`, `10.70.0.${group.slice(-1)}`));
    for (const manager of node.phases.managers) {
      for (const message of messages) {
        if (message.case !== 'workloadEndpointUpdate') continue;
        const name = message.value.endpoint?.name ?? '';
        manager.onInterfaceState?.({ name, state: 'up', ifindex: 7 });
      }
    }
    await node.update(...messages);
    return node;
  }

  /** What it costs to take over the messages. */
  async update(...messages: DataplaneMessage[]): Promise<Cost> {
    const before = this.#counts();
    for (const message of messages) for (const manager of this.phases.managers) manager.onMessage(message);
    const outcome = await applyOnce(this.phases, this.clock, silentLogger);
    if (outcome.dirty) throw new Error('the apply left something dirty');
    return this.#since(before);
  }

  /** What happens while the loop runs for so long without news. */
  async idle(forMs: number): Promise<Cost> {
    const before = this.#counts();
    const config = testConfig();
    const loop = new DataplaneLoop({
      phases: this.phases,
      refreshes: [
        {
          name: 'IP sets',
          intervalMs: config.ipsetsRefreshIntervalMs,
          queueResync: () => this.phases.ipSets.forEach((sets) => sets.queueResync()),
        },
      ],
      clock: this.clock,
      log: silentLogger,
      jitter: () => 0,
      tookInterfaceEvents: () => undefined,
      takeMessages: () => [],
      setRefusals: () => undefined,
      closeUsersOfSets: () => undefined,
      publish: () => undefined,
      afterApply: () => undefined,
      onInSync: () => undefined,
      onFatal: (error) => {
        throw error;
      },
    });
    loop.open();
    loop.setInterfacesInSync();
    // In steps, so that an apply is over before its successor is due.
    for (let passed = 0; passed < forMs; passed += STEP_MS) await this.clock.advance(STEP_MS);
    await loop.stop();
    return this.#since(before);
  }

  #counts(): Cost {
    const restores = this.#runner.calls.filter(({ stdin }) => stdin !== undefined);
    const texts = [...this.nft.transactions, ...this.iptables.restores, ...restores.map(({ stdin }) => stdin ?? '')];
    return {
      operations: this.operations,
      writes: texts.length,
      bytes: texts.reduce((sum, text) => sum + text.length, 0),
      reads: this.nft.listings + this.iptables.saves.length + this.#runner.calls.length - restores.length,
      rendered: this.#rendered,
    };
  }

  #since(before: Cost): Cost {
    const now = this.#counts();
    return {
      operations: now.operations - before.operations,
      writes: now.writes - before.writes,
      bytes: now.bytes - before.bytes,
      reads: now.reads - before.reads,
      rendered: now.rendered - before.rendered,
    };
  }
}
