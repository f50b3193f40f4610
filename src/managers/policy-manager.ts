// Turns active policies and profiles into chains (dataplane.md 2.1 policyManager), and answers the endpoint manager's
// questions about them: selectors, and who uses what.
import { isPlainEqual } from '../base/plain-equal.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Chain } from '../model/chain.js';
import { isStagedPolicy, policyChainName, profileChainName } from '../model/names.js';
import type { Policy, PolicyID, Profile } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer } from '../rules/renderer.js';
import { setsOfRule } from '../rules/rule-checks.js';
import { policyKey, type UnitKey } from './endpoint-keys.js';
import type { DataplaneMessage, Manager } from './manager.js';
import { PolicyCatalog, type CatalogEntry } from './policy-catalog.js';
import type { FamilyTables } from './static-rules.js';

/** What the manager is built from. */
export interface PolicyManagerOptions {
  readonly renderer: RuleRenderer;
  readonly tables: FamilyTables;
  readonly log: Logger;
}

/** What one policy or profile has in the tables now. */
interface Programmed {
  /** For raw (policies), mangle and filter, in this order; a profile has none in raw. */
  readonly raw: readonly Chain[];
  readonly mangle: readonly Chain[];
  readonly filter: readonly Chain[];
}

const NOTHING: Programmed = { raw: [], mangle: [], filter: [] };
const TABLES = ['raw', 'mangle', 'filter'] as const;
/** The hint that has a policy's filter chains programmed without reference, in both back ends (differences.md row 11). */
const NEEDED_EVERYWHERE = 'AssumeNeededOnEveryNode';
const DIRECTIONS = ['ingress', 'egress'] as const;
const NOT_ACTIVE = 'an endpoint refers to it, but it is not active';

function setsOfBody({ inboundRules, outboundRules }: Policy | Profile): string[] {
  return inboundRules.concat(outboundRules).flatMap(setsOfRule);
}

/** DROP also where REJECT is configured: the kernel takes it in every table. */
function closedChain(name: string, reason: string): Chain {
  return { name, rules: [{ match: [], action: { kind: 'drop' }, comments: ['Refused'] }], refused: reason };
}

/**
 * Policy chains go to raw, mangle and filter, profile chains to filter (outbound to mangle too); the tables program
 * what is referred to. A policy or profile that cannot be rendered, or is referred to without being active, has chains
 * that drop and say so (`refused`): what is missing never means allow.
 */
export class PolicyManager implements Manager {
  readonly name: string;
  readonly #options: PolicyManagerOptions;
  readonly #policies = new PolicyCatalog<PolicyID, Policy>({ keyOf: policyKey, setsOf: setsOfBody });
  readonly #profiles = new PolicyCatalog<string, Profile>({ keyOf: (name) => `profile|${name}`, setsOf: setsOfBody });
  readonly #programmed = new Map<string, Programmed>();
  readonly #keyOfChain = new Map<string, string>();
  #regroup = new Set<UnitKey>();
  /** Id of a set that is not in the kernel as it should be → why. */
  #refusedSets: ReadonlyMap<string, string> = new Map();
  /** Ids of the sets that have come and not gone. */
  readonly #sets = new Set<string>();

  constructor(options: PolicyManagerOptions) {
    this.#options = options;
    this.name = `policy/${options.renderer.options.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    switch (message.case) {
      case 'activePolicyUpdate':
        if (message.value.id !== undefined) this.#setPolicy(message.value.id, message.value.policy ?? null);
        return;
      case 'activePolicyRemove':
        if (message.value.id !== undefined) this.#setPolicy(message.value.id, null);
        return;
      case 'activeProfileUpdate':
        if (message.value.id !== undefined)
          this.#profiles.setBody(message.value.id.name, message.value.profile ?? null);
        return;
      case 'activeProfileRemove':
        if (message.value.id !== undefined) this.#profiles.setBody(message.value.id.name, null);
        return;
      case 'ipsetUpdate':
        if (!this.#sets.has(message.value.id)) this.#touchUsersOfSet(message.value.id);
        this.#sets.add(message.value.id);
        return;
      case 'ipsetRemove':
        if (this.#sets.delete(message.value.id)) this.#touchUsersOfSet(message.value.id);
        return;
      default:
    }
  }

  /** Nothing yet: who refers to what is known once the endpoint manager has done its part, and it calls `settle`. */
  completeDeferredWork(): boolean {
    return true;
  }

  /**
   * Programs all that changed, a policy or profile a step. Called by the endpoint manager in every apply, after it
   * changed who refers to what.
   */
  *settle(): Generator<void, void> {
    for (const entry of this.#policies.takeDirty()) {
      this.#program(
        entry,
        () => this.#renderPolicy(entry),
        (reason) => this.#closedPolicy(entry.id, reason),
      );
      yield;
    }
    for (const entry of this.#profiles.takeDirty()) {
      this.#program(
        entry,
        () => this.#renderProfile(entry),
        (reason) => this.#closedProfile(entry.id, reason),
      );
      yield;
    }
  }

  /** The selector that groups are made by; empty for a policy that is not active. */
  selectorOf(id: PolicyID): string {
    return this.#policies.get(id)?.originalSelector ?? '';
  }

  /** Replaces what a unit refers to; empty lists end its use. */
  setUses(unit: UnitKey, policies: Iterable<PolicyID>, profiles: Iterable<string>): void {
    this.#policies.setUses(unit, policies);
    this.#profiles.setUses(unit, profiles);
  }

  /** Units that use a policy whose selector changed since the last call: their groups may be different now. */
  takeRegroup(): ReadonlySet<UnitKey> {
    const units = this.#regroup;
    this.#regroup = new Set();
    return units;
  }

  /**
   * Replaces the sets that are refused, id → reason. What uses one is closed by the next `settle`: the members that the
   * kernel still has are not those that the rules speak of, and a stale deny rule lets through what it must not.
   */
  setRefusedSets(refused: ReadonlyMap<string, string>): void {
    const changed = [...refused.keys(), ...this.#refusedSets.keys()].filter(
      (id) => refused.has(id) !== this.#refusedSets.has(id),
    );
    this.#refusedSets = refused;
    for (const id of changed) this.#touchUsersOfSet(id);
  }

  /** Units that use a policy or profile whose rules use the set. */
  *usersOfSet(setId: string): Generator<UnitKey> {
    for (const key of this.#policies.keysOfSet(setId)) yield* this.#policies.users(key);
    for (const key of this.#profiles.keysOfSet(setId)) yield* this.#profiles.users(key);
  }

  /** Units that use the policy or profile with this chain. */
  *usersOfChain(chainName: string): Generator<UnitKey> {
    const key = this.#keyOfChain.get(chainName);
    if (key !== undefined) yield* this.#users(key);
  }

  #touchUsersOfSet(id: string): void {
    this.#policies.touchUsersOfSet(id);
    this.#profiles.touchUsersOfSet(id);
  }

  *#users(key: string): Generator<UnitKey> {
    yield* this.#policies.users(key);
    yield* this.#profiles.users(key);
  }

  #setPolicy(id: PolicyID, policy: Policy | null): void {
    const oldSelector = this.selectorOf(id);
    this.#policies.setBody(id, policy);
    if (this.selectorOf(id) === oldSelector) return;
    for (const unit of this.#policies.users(policyKey(id))) this.#regroup.add(unit);
  }

  #renderPolicy({ id, body }: CatalogEntry<PolicyID, Policy>): Programmed {
    const { renderer } = this.#options;
    const closed = this.#reasonToClose(body);
    if (body === null || closed !== null) return this.#closedPolicy(id, closed ?? NOT_ACTIVE);
    const chains = renderer.policyChains(id, body);
    const isForced = body.perfHints.includes(NEEDED_EVERYWHERE);
    return {
      raw: renderer.inTable('raw', chains),
      mangle: renderer.inTable('mangle', chains),
      filter: isForced ? chains.map((chain) => ({ ...chain, forced: true })) : chains,
    };
  }

  #closedPolicy(id: PolicyID, reason: string): Programmed {
    if (isStagedPolicy(id)) return NOTHING;
    const { backend } = this.#options.renderer.options;
    const chains = DIRECTIONS.map((direction) => closedChain(policyChainName(direction, id, backend), reason));
    return { raw: chains, mangle: chains, filter: chains };
  }

  #renderProfile({ id, body }: CatalogEntry<string, Profile>): Programmed {
    const { renderer } = this.#options;
    const closed = this.#reasonToClose(body);
    if (body === null || closed !== null) return this.#closedProfile(id, closed ?? NOT_ACTIVE);
    const { inbound, outbound } = renderer.profileChains(id, body);
    return { raw: [], mangle: renderer.inTable('mangle', [outbound]), filter: [inbound, outbound] };
  }

  #closedProfile(name: string, reason: string): Programmed {
    const { backend } = this.#options.renderer.options;
    const outbound = closedChain(profileChainName('egress', name, backend), reason);
    const inbound = closedChain(profileChainName('ingress', name, backend), reason);
    return { raw: [], mangle: [outbound], filter: [inbound, outbound] };
  }

  #reasonToClose(body: Policy | Profile | null): string | null {
    if (body === null) return null;
    for (const id of setsOfBody(body)) {
      // Felix sends sets before what uses them; the kernel would refuse the rule until the next refresh.
      if (!this.#sets.has(id)) return `its IP set ${id} has not come`;
      const reason = this.#refusedSets.get(id);
      if (reason !== undefined) return `its IP set ${id} is refused: ${reason}`;
    }
    return null;
  }

  #program<Id, Body>(
    { key, body, users }: CatalogEntry<Id, Body>,
    render: () => Programmed,
    close: (reason: string) => Programmed,
  ): void {
    if (body === null && users.size === 0) {
      this.#write(key, NOTHING);
      return;
    }
    let wanted: Programmed;
    try {
      wanted = render();
    } catch (error) {
      // Only a fault of our own gets here; it must not keep other policies from being programmed.
      wanted = close(`could not be rendered: ${errorMessage(error)}`);
    }
    const refused = wanted.filter.find((chain) => chain.refused !== undefined);
    if (refused !== undefined) {
      this.#options.log.error('policy or profile drops everything', { policy: key, reason: refused.refused });
    }
    this.#write(key, wanted);
  }

  #write(key: string, wanted: Programmed): void {
    const old = this.#programmed.get(key) ?? NOTHING;
    if (isPlainEqual(old, wanted)) return;
    for (const name of TABLES) {
      const table = this.#options.tables[name];
      const kept = new Set(wanted[name].map((chain) => chain.name));
      for (const chain of wanted[name]) table.setChain(chain);
      for (const chain of old[name]) if (!kept.has(chain.name)) table.deleteChain(chain.name);
    }
    for (const chain of old.filter) this.#keyOfChain.delete(chain.name);
    for (const chain of wanted.filter) this.#keyOfChain.set(chain.name, key);
    if (wanted === NOTHING) this.#programmed.delete(key);
    else this.#programmed.set(key, wanted);
  }
}
