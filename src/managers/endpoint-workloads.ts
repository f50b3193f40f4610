// Workload endpoints of one family: from records to chains, routes and settings, one interface at a time
// (dataplane.md 2.4).
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Chain } from '../model/chain.js';
import type { Family } from '../model/family.js';
import type { EndpointKey, EndpointStatus } from '../model/status.js';
import type { WorkloadEndpoint, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer, WorkloadChainsInput } from '../rules/renderer.js';
import type { ArpChains } from './endpoint-arp.js';
import { groupsOf, groupTiers, policiesOf, type GroupChains } from './endpoint-groups.js';
import { compareBytes, workloadEndpointKey, type UnitKey } from './endpoint-keys.js';
import type { WorkloadPlumbing } from './endpoint-plumbing.js';
import type { LiveMigrationState } from './endpoint-routes.js';
import type { RpfSkipChain } from './endpoint-rpf-skip.js';
import type { EndpointStatuses, StatusVerdict } from './endpoint-status.js';
import { EndpointStore, type WorkloadRecord } from './endpoint-store.js';
import { OwnedChains } from './owned-chains.js';
import type { PolicyManager } from './policy-manager.js';
import type { SharedWorkloadChains } from './shared-workload-chains.js';
import type { FamilyTables } from './static-rules.js';

/** What workload endpoints are programmed with. */
export interface WorkloadEndpointsOptions {
  readonly family: Family;
  readonly renderer: RuleRenderer;
  readonly tables: FamilyTables;
  readonly policies: PolicyManager;
  readonly groups: GroupChains;
  readonly plumbing: WorkloadPlumbing;
  readonly rpfSkip: RpfSkipChain;
  /** Null for IPv6. */
  readonly arp: ArpChains | null;
  readonly statuses: EndpointStatuses;
  /** Shared by both families; null where each has chains of its own. */
  readonly sharedChains: SharedWorkloadChains | null;
  readonly log: Logger;
}

/** What is programmed for an interface. */
interface Programmed {
  readonly key: EndpointKey;
  readonly id: WorkloadEndpointID;
  /** An address was left out, or programming failed for a fault of our own. */
  readonly isFaulty: boolean;
}

function unitOf(interfaceName: string): UnitKey {
  return `workload:${interfaceName}`;
}

/** Workload endpoints, programmed when `program` is called and only where something changed. */
export class WorkloadEndpoints {
  readonly #options: WorkloadEndpointsOptions;
  readonly #store = new EndpointStore();
  readonly #chains: OwnedChains;
  readonly #dirty = new Set<string>();
  readonly #programmed = new Map<string, Programmed>();
  readonly #names = new Set<string>();
  readonly #migrations = new Map<EndpointKey, LiveMigrationState>();
  #changedNames = new Set<string>();

  constructor(options: WorkloadEndpointsOptions) {
    this.#options = options;
    this.#chains = new OwnedChains(options.tables.filter);
  }

  /** Interfaces that have chains. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  update(id: WorkloadEndpointID, endpoint: WorkloadEndpoint): void {
    for (const interfaceName of this.#store.update(id, endpoint)) this.#dirty.add(interfaceName);
    this.#options.statuses.markWorkload(id);
    const problem = this.#store.get(workloadEndpointKey(id))?.problem ?? null;
    if (problem !== null) {
      this.#options.log.error(`workload endpoint is not programmed: ${problem}`, { endpoint: workloadEndpointKey(id) });
    }
  }

  remove(id: WorkloadEndpointID): void {
    const key = workloadEndpointKey(id);
    for (const interfaceName of this.#store.remove(key)) this.#dirty.add(interfaceName);
    this.#migrations.delete(key);
    this.#options.statuses.removeWorkload(id);
  }

  setMigration(id: WorkloadEndpointID, state: LiveMigrationState): void {
    const key = workloadEndpointKey(id);
    if ((this.#migrations.get(key) ?? 'base') === state) return;
    if (state === 'base') this.#migrations.delete(key);
    else this.#migrations.set(key, state);
    const record = this.#store.get(key);
    if (record !== null && record.problem === null) this.#dirty.add(record.endpoint.name);
  }

  /** Has the interface programmed again, if it has an endpoint. */
  markDirty(interfaceName: string): void {
    if (this.#programmed.has(interfaceName)) this.#dirty.add(interfaceName);
  }

  /** The endpoint on this interface must be reported. */
  markStatus(interfaceName: string): void {
    const programmed = this.#programmed.get(interfaceName);
    if (programmed !== undefined) this.#options.statuses.markWorkload(programmed.id);
  }

  /** The endpoint on this interface must be reported if its status is another now. */
  recheckStatus(interfaceName: string): void {
    const programmed = this.#programmed.get(interfaceName);
    if (programmed !== undefined) this.#options.statuses.recheckWorkload(programmed.id);
  }

  /** The interface whose own chains have this name. */
  ownerOfChain(chainName: string): UnitKey | null {
    return (this.#chains.ownerOf(chainName) as UnitKey | undefined) ?? null;
  }

  /** Programs what changed. In the order of names: marks depend on it. */
  program(): void {
    for (const interfaceName of [...this.#dirty].sort(compareBytes)) {
      const record = this.#store.ownerOf(interfaceName);
      const previous = this.#programmed.get(interfaceName);
      if (record !== null) this.#tryProgram(interfaceName, record);
      else if (previous !== undefined) this.#withdraw(interfaceName);
      if (previous !== undefined && previous.key !== record?.key) this.#options.statuses.markWorkload(previous.id);
    }
    this.#dirty.clear();
  }

  /** The names that came or went since the last call. */
  takeChangedNames(): ReadonlySet<string> {
    const names = this.#changedNames;
    this.#changedNames = new Set();
    return names;
  }

  /** Status of an endpoint now; `isClosed` says whether a unit uses something that is closed. */
  verdict(
    id: WorkloadEndpointID,
    isClosed: (unit: UnitKey) => boolean,
  ): StatusVerdict & { endpoint: WorkloadEndpoint | null } {
    const record = this.#store.get(workloadEndpointKey(id));
    if (record === null) return { status: null, isSettled: true, endpoint: null };
    const { endpoint } = record;
    if (record.problem !== null) return { status: 'error', isSettled: true, endpoint };
    if (this.#store.isShadowed(record)) return { status: null, isSettled: true, endpoint: null };
    const isFaulty = this.#programmed.get(endpoint.name)?.isFaulty === true;
    if (isFaulty || isClosed(unitOf(endpoint.name))) return { status: 'error', isSettled: true, endpoint };
    const { plumbing } = this.#options;
    const isConfigured = plumbing.isConfigured(endpoint.name);
    const isUp = isConfigured && endpoint.state === 'active' && plumbing.isUp(endpoint.name);
    const status: EndpointStatus = isUp ? 'up' : 'down';
    return { status, isSettled: isConfigured, endpoint };
  }

  /** A fault of our own must not keep other endpoints from being programmed; this one keeps the chains that it has. */
  #tryProgram(interfaceName: string, record: WorkloadRecord): void {
    try {
      this.#programInterface(interfaceName, record);
    } catch (error) {
      const { key, id } = record;
      this.#options.log.error('workload endpoint could not be programmed', {
        endpoint: key,
        error: errorMessage(error),
      });
      this.#programmed.set(interfaceName, { key, id, isFaulty: true });
    }
  }

  #programInterface(interfaceName: string, record: WorkloadRecord): void {
    const { policies, groups, plumbing, rpfSkip, arp, statuses, log } = this.#options;
    const { endpoint } = record;
    const unit = unitOf(interfaceName);
    const tiers = groupTiers(endpoint.tiers, (id) => policies.selectorOf(id));
    const chains = this.#render(endpoint, {
      interfaceName,
      adminUp: endpoint.state === 'active',
      tiers,
      profileIds: endpoint.profileIds,
      qosControls: endpoint.qosControls,
    });
    const allGroups = groupsOf(tiers);
    policies.setUses(unit, policiesOf(allGroups), endpoint.profileIds);
    groups.setGroups(unit, allGroups);
    this.#chains.replace(unit, chains);
    const faults = plumbing.plumb(interfaceName, record, this.#migrations.get(record.key) ?? 'base');
    for (const fault of faults) log.error(`workload endpoint: ${fault}; it is left out`, { endpoint: record.key });
    rpfSkip.setPrefixes(interfaceName, endpoint.allowSpoofedSourcePrefixes);
    arp?.setAddresses(interfaceName, endpoint.ipv4Nets);
    this.#programmed.set(interfaceName, { key: record.key, id: record.id, isFaulty: faults.length > 0 });
    if (!this.#names.has(interfaceName)) this.#changedNames.add(interfaceName);
    this.#names.add(interfaceName);
    statuses.markWorkload(record.id);
  }

  #render(endpoint: WorkloadEndpoint, input: WorkloadChainsInput): readonly Chain[] {
    const { renderer, sharedChains } = this.#options;
    return sharedChains === null ? renderer.workloadChains(input) : sharedChains.render(renderer, endpoint, input);
  }

  #withdraw(interfaceName: string): void {
    const { policies, groups, plumbing, rpfSkip, arp } = this.#options;
    const unit = unitOf(interfaceName);
    this.#chains.replace(unit, []);
    groups.setGroups(unit, []);
    policies.setUses(unit, [], []);
    plumbing.unplumb(interfaceName);
    rpfSkip.setPrefixes(interfaceName, []);
    arp?.setAddresses(interfaceName, []);
    this.#programmed.delete(interfaceName);
    this.#names.delete(interfaceName);
    this.#changedNames.add(interfaceName);
  }
}
