// A node in memory: all policy-side managers of both families over memory sinks, driven as the loop drives them.
import type { Logger } from '../../src/base/logger.js';
import { createPolicyManagers, type NetworkManagers } from '../../src/managers/create-managers.js';
import type { EndpointManager } from '../../src/managers/endpoint-manager.js';
import type { DataplaneMessage, Manager } from '../../src/managers/manager.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../../src/model/config.js';
import { type Family, FAMILIES } from '../../src/model/family.js';
import type { InterfaceState } from '../../src/model/interface.js';
import type { Refusal } from '../../src/model/refusal.js';
import { createRuleRenderer } from '../../src/rules/create-rule-renderer.js';
import { testConfig, testEnvironment } from './config.js';
import { MemoryIpSets } from './ip-sets.js';
import { MemoryBgpPeers, MemoryLinkAddresses, MemoryRouteTable } from './route-table.js';
import { memoryTables, MemoryRuleTable } from './rule-table.js';
import { MemoryBandwidth, MemorySysctls } from './settings.js';
import { MemoryStatus } from './status.js';

/** A log line as tests look at it. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
}

function recordingLogger(lines: LogLine[]): Logger {
  const at = (level: LogLine['level']) => (message: string) => void lines.push({ level, message });
  const log: Logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => log };
  return log;
}

/** The sinks of one family. */
function memorySinks(family: Family, config: DataplaneConfig, environment: DataplaneEnvironment) {
  return {
    renderer: createRuleRenderer({ family, backend: environment.backend, config, environment }),
    tables: memoryTables(family),
    ipSets: new MemoryIpSets(family),
    routes: new MemoryRouteTable(family),
    linkAddresses: new MemoryLinkAddresses(family),
    bgpPeers: new MemoryBgpPeers(),
  };
}

/** Managers and sinks of one node. Nothing reaches a kernel: `apply` only lets the managers hand over. */
export class ManagedNode {
  readonly v4: ReturnType<typeof memorySinks>;
  readonly v6: ReturnType<typeof memorySinks>;
  readonly arpTable = new MemoryRuleTable(4, 'filter');
  readonly sysctls = new MemorySysctls();
  readonly bandwidth = new MemoryBandwidth();
  readonly status: MemoryStatus;
  readonly managers: readonly Manager[];
  readonly endpointManagers: readonly EndpointManager[];
  readonly logLines: LogLine[] = [];
  /** Refusals beyond those that the tables make of chains with `refused`. */
  refusals: Refusal[] = [];

  constructor(
    options: {
      config?: DataplaneConfig;
      environment?: DataplaneEnvironment;
      network?: NetworkManagers;
      status?: MemoryStatus;
    } = {},
  ) {
    const config = options.config ?? testConfig();
    const environment = options.environment ?? testEnvironment();
    this.v4 = memorySinks(4, config, environment);
    this.v6 = memorySinks(6, config, environment);
    this.status = options.status ?? new MemoryStatus();
    const { managers, endpointManagers } = createPolicyManagers({
      v4: this.v4,
      v6: this.v6,
      arpTable: this.arpTable,
      sysctls: this.sysctls,
      bandwidth: this.bandwidth,
      status: this.status,
      log: recordingLogger(this.logLines),
      ...(options.network === undefined ? {} : { network: options.network }),
    });
    this.managers = managers;
    this.endpointManagers = endpointManagers;
  }

  /** The sinks of a family. */
  sinks(family: Family): ReturnType<typeof memorySinks> {
    return family === 4 ? this.v4 : this.v6;
  }

  send(...messages: DataplaneMessage[]): this {
    for (const message of messages) for (const manager of this.managers) manager.onMessage(message);
    return this;
  }

  setInterface(name: string, state: InterfaceState, addresses?: readonly string[] | null): this {
    for (const manager of this.managers)
      manager.onInterfaceState?.({ name, state, ifindex: state === 'absent' ? 0 : 7 });
    if (addresses === undefined) return this;
    const set = addresses === null ? null : new Set(addresses);
    for (const manager of this.managers) manager.onInterfaceAddresses?.({ name, addresses: set });
    return this;
  }

  /** One apply as the loop runs it, without kernel: managers, refusals, statuses. */
  apply(): this {
    for (const manager of this.managers) manager.resolveUpdateBatch?.();
    for (const manager of this.managers)
      if (!manager.completeDeferredWork()) throw new Error(`${manager.name} is dirty`);
    const refusals = [...this.refusals, ...this.refusedChains()];
    for (const manager of this.endpointManagers) manager.setRefusals(refusals);
    for (const manager of this.endpointManagers) manager.reportStatuses();
    return this;
  }

  /** Forgets what was called so far. */
  clearCalls(): this {
    for (const table of this.allTables()) table.calls = [];
    this.status.calls = [];
    this.v4.ipSets.replaced = [];
    this.v6.ipSets.replaced = [];
    this.sysctls.requestCount = 0;
    return this;
  }

  /** What reached the tables: `4 filter set cali-tw-cali1`. */
  calls(): string[] {
    return this.allTables().flatMap((table) =>
      table.calls.map((call) => `${table === this.arpTable ? 'arp' : table.family} ${table.table} ${call}`),
    );
  }

  /** Refusals as the tables report them: programmed chains with `refused`. */
  refusedChains(): Refusal[] {
    return this.allTables().flatMap((table) =>
      [...table.programmed().values()].flatMap(({ name, refused }) =>
        refused === undefined ? [] : [{ family: table.family, kind: 'chain' as const, object: name, reason: refused }],
      ),
    );
  }

  /** All desired state as plain data; equal for equal state. */
  snapshot(): unknown {
    const families = FAMILIES.map((family) => {
      const { tables, ipSets, routes, linkAddresses, bgpPeers } = this.sinks(family);
      return {
        tables: Object.values(tables).map((table) => table.snapshot()),
        sets: ipSets.snapshot(),
        routes: routes.snapshot(),
        linkAddresses: [...linkAddresses.addresses].sort(),
        peers: [...bgpPeers.names].sort(),
      };
    });
    return {
      families,
      arp: this.arpTable.snapshot(),
      sysctls: [...this.sysctls.requests].sort(),
      bandwidth: [...this.bandwidth.limits].sort(),
      statuses: [...this.status.statuses].sort(),
    };
  }

  allTables(): MemoryRuleTable[] {
    return [...Object.values(this.v4.tables), ...Object.values(this.v6.tables), this.arpTable];
  }
}
