// Host endpoints of one family: from resolved interfaces to chains in filter, mangle and raw (dataplane.md 2.4, 3.6).
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Chain } from '../model/chain.js';
import type { Family } from '../model/family.js';
import type { HostEndpoint, HostEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import { ANY_INTERFACE, type HostChainsInput, type RuleRenderer } from '../rules/renderer.js';
import { groupsOf, groupTiers, policiesOf, type GroupChains } from './endpoint-groups.js';
import { HostEndpointResolver, type HostRecord } from './endpoint-hosts.js';
import { compareBytes, type UnitKey } from './endpoint-keys.js';
import type { EndpointStatuses, StatusVerdict } from './endpoint-status.js';
import { interfaceNameProblem } from './interface-name.js';
import { OwnedChains } from './owned-chains.js';
import type { PolicyManager } from './policy-manager.js';
import type { FamilyTables } from './static-rules.js';

/** What host endpoints are programmed with. */
export interface HostEndpointsOptions {
  readonly family: Family;
  readonly renderer: RuleRenderer;
  readonly tables: FamilyTables;
  readonly policies: PolicyManager;
  readonly groups: GroupChains;
  readonly statuses: EndpointStatuses;
  /** True if the interface is operationally up. */
  isUp(interfaceName: string): boolean;
  readonly log: Logger;
}

interface HostChains {
  readonly filter: readonly Chain[];
  readonly mangle: readonly Chain[];
  readonly raw: readonly Chain[];
}

const NO_CHAINS: HostChains = { filter: [], mangle: [], raw: [] };

function unitOf(interfaceName: string): UnitKey {
  return `host:${interfaceName}`;
}

/** Host endpoints, programmed when `program` is called and only where something changed. */
export class HostEndpoints {
  readonly #options: HostEndpointsOptions;
  readonly #resolver = new HostEndpointResolver();
  readonly #filter: OwnedChains;
  readonly #mangle: OwnedChains;
  readonly #raw: OwnedChains;
  readonly #names = { all: new Set<string>(), preDnat: new Set<string>(), untracked: new Set<string>() };
  /** Interfaces that cannot be programmed: a bad name, or a fault of our own. */
  readonly #faulty = new Set<string>();
  readonly #noted = new Set<string>();
  #namesChanged = false;

  constructor(options: HostEndpointsOptions) {
    this.#options = options;
    this.#filter = new OwnedChains(options.tables.filter);
    this.#mangle = new OwnedChains(options.tables.mangle);
    this.#raw = new OwnedChains(options.tables.raw);
  }

  /** Interfaces with chains: all, with pre-DNAT policy, with untracked policy. */
  get names(): {
    readonly all: ReadonlySet<string>;
    readonly preDnat: ReadonlySet<string>;
    readonly untracked: ReadonlySet<string>;
  } {
    return this.#names;
  }

  update(id: HostEndpointID, endpoint: HostEndpoint): void {
    this.#resolver.update({ id, endpoint });
    this.#options.statuses.markHost(id);
  }

  remove(id: HostEndpointID): void {
    this.#resolver.remove(id.endpointId);
    this.#noted.delete(id.endpointId);
    this.#options.statuses.removeHost(id);
  }

  /** Addresses of a non-workload interface, null when it is gone. */
  setAddresses(interfaceName: string, addresses: ReadonlySet<string> | null): void {
    this.#resolver.setAddresses(interfaceName, addresses);
  }

  /** Has the interface programmed again, if it has an endpoint. */
  markDirty(interfaceName: string): void {
    if (this.#resolver.ownerId(interfaceName) !== null) this.#resolver.markDirty(interfaceName);
  }

  /** The endpoint that governs this interface must be reported. */
  markStatus(interfaceName: string): void {
    const owner = this.#owner(interfaceName);
    if (owner !== null) this.#options.statuses.markHost(owner.id);
  }

  /** The endpoint that governs this interface must be reported if its status is another now. */
  recheckStatus(interfaceName: string): void {
    const owner = this.#owner(interfaceName);
    if (owner !== null) this.#options.statuses.recheckHost(owner.id);
  }

  /** The interface whose own chains have this name. */
  ownerOfChain(chainName: string): UnitKey | null {
    const owner = this.#filter.ownerOf(chainName) ?? this.#mangle.ownerOf(chainName) ?? this.#raw.ownerOf(chainName);
    return (owner as UnitKey | undefined) ?? null;
  }

  /** Programs what changed; true if one of the sets of names is another one now. */
  program(): boolean {
    this.#namesChanged = false;
    const resolutions = this.#resolver.resolve();
    resolutions.sort((left, right) => compareBytes(left.interfaceName, right.interfaceName));
    for (const { interfaceName, owner, previousId } of resolutions) {
      if (owner === null) this.#withdraw(interfaceName);
      else this.#tryProgram(interfaceName, owner);
      if (owner?.id.endpointId === previousId) continue;
      if (owner !== null) this.#options.statuses.markHost(owner.id);
      const previous = previousId === null ? null : this.#resolver.get(previousId);
      if (previous !== null) this.#options.statuses.markHost(previous.id);
    }
    return this.#namesChanged;
  }

  /** Status of an endpoint now; `isClosed` says whether a unit uses something that is closed. */
  verdict(id: HostEndpointID, isClosed: (unit: UnitKey) => boolean): StatusVerdict {
    if (this.#resolver.get(id.endpointId) === null) return { status: null, isSettled: true };
    const interfaces = [...this.#resolver.interfacesOf(id.endpointId)];
    const isFaulty = interfaces.some((name) => this.#faulty.has(name) || isClosed(unitOf(name)));
    if (interfaces.length === 0 || isFaulty) return { status: 'error', isSettled: true };
    const isUp = interfaces.every((name) => name === ANY_INTERFACE || this.#options.isUp(name));
    return { status: isUp ? 'up' : 'down', isSettled: true };
  }

  #owner(interfaceName: string): HostRecord | null {
    const id = this.#resolver.ownerId(interfaceName);
    return id === null ? null : this.#resolver.get(id);
  }

  /** A fault of our own must not keep other endpoints from being programmed; this one keeps the chains that it has. */
  #tryProgram(interfaceName: string, record: HostRecord): void {
    try {
      this.#faulty.delete(interfaceName);
      this.#programInterface(interfaceName, record);
    } catch (error) {
      this.#options.log.error('host endpoint could not be programmed', {
        endpoint: record.id.endpointId,
        interfaceName,
        error: errorMessage(error),
      });
      this.#faulty.add(interfaceName);
    }
  }

  #programInterface(interfaceName: string, record: HostRecord): void {
    const { policies, groups, renderer, log } = this.#options;
    const problem = interfaceName === ANY_INTERFACE ? null : interfaceNameProblem(interfaceName);
    if (problem !== null) {
      log.error(`host endpoint is not programmed: ${problem}`, { endpoint: record.id.endpointId });
      this.#faulty.add(interfaceName);
      return;
    }
    this.#warn(interfaceName, record);
    const input = this.#input(interfaceName, record.endpoint);
    const chains = {
      filter: renderer.hostFilterChains(input),
      mangle: renderer.hostMangleChains(input),
      raw: renderer.hostRawChains(input),
    };
    const unit = unitOf(interfaceName);
    const allGroups = groupsOf([...input.tiers, ...input.untrackedTiers, ...input.preDnatTiers, ...input.forwardTiers]);
    policies.setUses(unit, policiesOf(allGroups), input.profileIds);
    groups.setGroups(unit, allGroups);
    this.#write(unit, chains);
    this.#setName(this.#names.all, interfaceName, true);
    this.#setName(this.#names.preDnat, interfaceName, input.preDnatTiers.length > 0);
    this.#setName(this.#names.untracked, interfaceName, input.untrackedTiers.length > 0);
  }

  #input(interfaceName: string, endpoint: HostEndpoint): HostChainsInput {
    const selectorOf = this.#options.policies.selectorOf.bind(this.#options.policies);
    return {
      interfaceName,
      tiers: groupTiers(endpoint.tiers, selectorOf),
      // Not supported for `*`, where raw has no dispatch default.
      untrackedTiers: interfaceName === ANY_INTERFACE ? [] : groupTiers(endpoint.untrackedTiers, selectorOf),
      preDnatTiers: groupTiers(endpoint.preDnatTiers, selectorOf, ['ingress']),
      forwardTiers: groupTiers(endpoint.forwardTiers, selectorOf),
      profileIds: endpoint.profileIds,
    };
  }

  #withdraw(interfaceName: string): void {
    const unit = unitOf(interfaceName);
    this.#write(unit, NO_CHAINS);
    this.#options.groups.setGroups(unit, []);
    this.#options.policies.setUses(unit, [], []);
    this.#faulty.delete(interfaceName);
    for (const names of Object.values(this.#names)) this.#setName(names, interfaceName, false);
  }

  #write(unit: UnitKey, chains: HostChains): void {
    this.#filter.replace(unit, chains.filter);
    this.#mangle.replace(unit, chains.mangle);
    this.#raw.replace(unit, chains.raw);
  }

  #setName(names: Set<string>, interfaceName: string, isIn: boolean): void {
    if (names.has(interfaceName) === isIn) return;
    if (isIn) names.add(interfaceName);
    else names.delete(interfaceName);
    this.#namesChanged = true;
  }

  /** Says once per endpoint what operators stumble over. */
  #warn(interfaceName: string, { id, endpoint }: HostRecord): void {
    if (this.#noted.has(id.endpointId)) return;
    if (interfaceName === ANY_INTERFACE && endpoint.untrackedTiers.length > 0) {
      this.#noted.add(id.endpointId);
      this.#options.log.warn('untracked policy is not supported for a host endpoint on all interfaces; it is ignored', {
        endpoint: id.endpointId,
      });
    }
    const hasPolicy = endpoint.tiers.length > 0 || endpoint.profileIds.length > 0;
    if (this.#options.family === 6 && interfaceName !== ANY_INTERFACE && !hasPolicy) {
      this.#noted.add(id.endpointId);
      this.#options.log.warn('host endpoint without policy also blocks IPv6 neighbour discovery on its interface', {
        endpoint: id.endpointId,
        interfaceName,
      });
    }
  }
}
