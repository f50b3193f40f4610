// The endpoint manager of one family: workload and host endpoints, their groups, dispatch and statuses
// (dataplane.md 2.4). The parts are in the files beside it; here they are put together.
import type { Logger } from '../base/logger.js';
import type { InterfaceBandwidth, InterfaceSysctls } from '../interfaces/interface-settings.js';
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';
import type { Refusal } from '../model/refusal.js';
import type { WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import type { BgpPeerInterfaces, LinkAddresses, RouteTable } from '../routes/route-table.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { ArpChains } from './endpoint-arp.js';
import { Dispatch } from './endpoint-dispatch.js';
import { GroupChains } from './endpoint-groups.js';
import { HostEndpoints } from './endpoint-host-chains.js';
import type { UnitKey } from './endpoint-keys.js';
import { WorkloadPlumbing } from './endpoint-plumbing.js';
import type { LiveMigrationState } from './endpoint-routes.js';
import { RpfSkipChain } from './endpoint-rpf-skip.js';
import { EndpointStatuses, type EndpointStatusSink } from './endpoint-status.js';
import { WorkloadEndpoints } from './endpoint-workloads.js';
import type { DataplaneMessage, Manager } from './manager.js';
import type { PolicyManager } from './policy-manager.js';
import type { SharedWorkloadChains } from './shared-workload-chains.js';
import type { FamilyTables } from './static-rules.js';

/** What the manager is built from. */
export interface EndpointManagerOptions {
  /** Brings family, configuration and environment along. */
  readonly renderer: RuleRenderer;
  readonly tables: FamilyTables;
  /** The ARP table; null for IPv6 and where nft does not work. */
  readonly arpTable: RuleTable | null;
  /** Of the same family. */
  readonly policies: PolicyManager;
  readonly routes: RouteTable;
  readonly linkAddresses: LinkAddresses;
  readonly bgpPeers: BgpPeerInterfaces;
  readonly sysctls: InterfaceSysctls;
  /** Null in all families but one. */
  readonly bandwidth: InterfaceBandwidth | null;
  readonly status: EndpointStatusSink;
  /** Left out where each family has chains of its own. */
  readonly sharedChains?: SharedWorkloadChains;
  readonly log: Logger;
}

/** Manages endpoints of one family. Statuses are handed over by `reportStatuses`, after the reconcilers ran. */
export class EndpointManager implements Manager {
  readonly name: string;
  readonly #options: EndpointManagerOptions;
  readonly #statuses = new EndpointStatuses();
  readonly #groups: GroupChains;
  readonly #plumbing: WorkloadPlumbing;
  readonly #rpfSkip: RpfSkipChain;
  readonly #arp: ArpChains | null;
  readonly #workloads: WorkloadEndpoints;
  readonly #hosts: HostEndpoints;
  readonly #dispatch: Dispatch;
  #refusals: readonly Refusal[] = [];
  #closedUnits: ReadonlySet<UnitKey> = new Set();

  constructor(options: EndpointManagerOptions) {
    const { renderer, tables, policies, arpTable, log } = options;
    const { family, config, environment } = renderer.options;
    this.#options = options;
    this.name = `endpoint/${family}`;
    this.#groups = new GroupChains(renderer, tables);
    this.#plumbing = new WorkloadPlumbing({ ...options, family, config, environment });
    this.#rpfSkip = new RpfSkipChain(renderer, tables.raw, log);
    this.#arp = arpTable === null ? null : new ArpChains(renderer, arpTable);
    this.#dispatch = new Dispatch(renderer, tables, environment.ipvs);
    const shared = { family, renderer, tables, policies, groups: this.#groups, statuses: this.#statuses, log };
    this.#workloads = new WorkloadEndpoints({
      ...shared,
      plumbing: this.#plumbing,
      rpfSkip: this.#rpfSkip,
      arp: this.#arp,
      sharedChains: options.sharedChains ?? null,
    });
    this.#hosts = new HostEndpoints({ ...shared, isUp: (interfaceName) => this.#plumbing.isUp(interfaceName) });
  }

  onMessage(message: DataplaneMessage): void {
    switch (message.case) {
      case 'workloadEndpointUpdate': {
        const { id, endpoint } = message.value;
        if (id !== undefined && endpoint !== undefined) this.#workloads.update(id, endpoint);
        return;
      }
      case 'workloadEndpointRemove':
        if (message.value.id !== undefined) this.#workloads.remove(message.value.id);
        return;
      case 'hostEndpointUpdate': {
        const { id, endpoint } = message.value;
        if (id !== undefined && endpoint !== undefined) this.#hosts.update(id, endpoint);
        return;
      }
      case 'hostEndpointRemove':
        if (message.value.id !== undefined) this.#hosts.remove(message.value.id);
        return;
      case 'globalBgpConfigUpdate': {
        const { localWorkloadPeeringIpV4, localWorkloadPeeringIpV6 } = message.value;
        const address = this.#family === 4 ? localWorkloadPeeringIpV4 : localWorkloadPeeringIpV6;
        for (const interfaceName of this.#plumbing.setPeerAddress(address)) {
          this.#workloads.recheckStatus(interfaceName);
        }
        return;
      }
      default:
    }
  }

  onInterfaceState(event: InterfaceStateEvent): void {
    this.#plumbing.onInterfaceState(event);
    this.#workloads.markStatus(event.name);
    this.#hosts.markStatus(event.name);
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    if (this.#plumbing.isWorkloadInterface(event.name)) return;
    this.#hosts.setAddresses(event.name, event.addresses);
  }

  /** State of an endpoint in a live migration (2.9): decides whether, and with which priority, it has local routes. */
  setLiveMigrationState(id: WorkloadEndpointID, state: LiveMigrationState): void {
    this.#workloads.setMigration(id, state);
  }

  completeDeferredWork(): boolean {
    return finish(this.deferredSteps());
  }

  /** See Manager. */
  *deferredSteps(): Generator<void, boolean> {
    for (const unit of this.#options.policies.takeRegroup()) {
      forUnit(unit, this.#workloads, this.#hosts, (endpoints, interfaceName) => endpoints.markDirty(interfaceName));
    }
    this.#workloads.program();
    const hosts = this.#hosts.program();
    yield;
    // Referring to something that is not active gives it closed chains; only now is it known who refers to what.
    yield* this.#options.policies.settle();
    const { all, preDnat, untracked } = this.#hosts.names;
    this.#dispatch.update(
      { workloads: this.#workloads.names, hosts: all, hostsWithPreDnat: preDnat, hostsWithUntracked: untracked },
      { workloads: this.#workloads.takeChangedNames(), hosts },
    );
    this.#openMarked();
    this.#rpfSkip.flush();
    this.#arp?.flush();
    return true;
  }

  /** Marks go free only when the dispatch is written, so those who waited for one are programmed after it. */
  #openMarked(): void {
    const marked = this.#options.renderer.takeMarked();
    if (marked.length === 0) return;
    for (const interfaceName of marked) {
      this.#workloads.markDirty(interfaceName);
      this.#hosts.markDirty(interfaceName);
    }
    this.#workloads.program();
    this.#hosts.program();
    finish(this.#options.policies.settle());
  }

  /** Everything that is closed instead of programmed right now, of all families; replaces the former list. */
  setRefusals(refusals: readonly Refusal[]): void {
    this.#refusals = refusals.filter((refusal) => refusal.family === this.#family);
    const sets = this.#refusals.filter((refusal) => refusal.kind === 'set');
    this.#options.policies.setRefusedSets(new Map(sets.map(({ object, reason }) => [object, reason])));
  }

  /** Hands the statuses that are due to the sink. Call after the reconcilers ran and `setRefusals` was called. */
  reportStatuses(): void {
    const closed = this.#findClosedUnits();
    for (const unit of [...closed, ...this.#closedUnits]) {
      if (closed.has(unit) && this.#closedUnits.has(unit)) continue;
      forUnit(unit, this.#workloads, this.#hosts, (endpoints, interfaceName) => endpoints.recheckStatus(interfaceName));
    }
    this.#closedUnits = closed;
    const isClosed = (unit: UnitKey): boolean => closed.has(unit);
    const source = {
      workload: (id: Parameters<WorkloadEndpoints['verdict']>[0]) => this.#workloads.verdict(id, isClosed),
      host: (id: Parameters<HostEndpoints['verdict']>[0]) => this.#hosts.verdict(id, isClosed),
    };
    this.#statuses.report(this.#family, source, this.#options.status);
  }

  get #family(): 4 | 6 {
    return this.#options.renderer.options.family;
  }

  /** The units that use a chain or set that is closed instead of programmed. */
  #findClosedUnits(): ReadonlySet<UnitKey> {
    const { policies } = this.#options;
    const units = new Set<UnitKey>();
    for (const { kind, object } of this.#refusals) {
      if (kind === 'set') for (const unit of policies.usersOfSet(object)) units.add(unit);
      if (kind !== 'chain') continue;
      for (const unit of policies.usersOfChain(object)) units.add(unit);
      for (const unit of this.#groups.users(object)) units.add(unit);
      const owner = this.#workloads.ownerOfChain(object) ?? this.#hosts.ownerOfChain(object);
      if (owner !== null) units.add(owner);
    }
    return units;
  }
}

/** Takes all steps at once. */
function finish<Result>(steps: Generator<void, Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

function forUnit(
  unit: UnitKey,
  workloads: WorkloadEndpoints,
  hosts: HostEndpoints,
  act: (endpoints: WorkloadEndpoints | HostEndpoints, interfaceName: string) => void,
): void {
  const [kind, interfaceName] = [unit.slice(0, unit.indexOf(':')), unit.slice(unit.indexOf(':') + 1)];
  act(kind === 'workload' ? workloads : hosts, interfaceName);
}
