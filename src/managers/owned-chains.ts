// Keeps what each owner has in one rule table, so that only chains that differ reach the table.
import { isPlainEqual } from '../base/plain-equal.js';
import type { Chain } from '../model/chain.js';
import type { RuleTable } from '../tables/rule-table.js';

/** Chains of one table by owner. A chain name belongs to one owner at a time. */
export class OwnedChains {
  readonly #table: RuleTable;
  readonly #byOwner = new Map<string, readonly Chain[]>();
  readonly #ownerOf = new Map<string, string>();

  constructor(table: RuleTable) {
    this.#table = table;
  }

  /** Makes these the owner's chains: sets those that are new or differ, deletes those that are gone. */
  replace(owner: string, chains: readonly Chain[]): void {
    const old = new Map((this.#byOwner.get(owner) ?? []).map((chain) => [chain.name, chain]));
    for (const chain of chains) {
      if (!isPlainEqual(old.get(chain.name), chain)) this.#table.setChain(chain);
      this.#ownerOf.set(chain.name, owner);
      old.delete(chain.name);
    }
    for (const name of old.keys()) {
      // Another owner may have taken the name over within the same batch.
      if (this.#ownerOf.get(name) !== owner) continue;
      this.#ownerOf.delete(name);
      this.#table.deleteChain(name);
    }
    if (chains.length > 0) this.#byOwner.set(owner, chains);
    else this.#byOwner.delete(owner);
  }

  /** The owner of a chain, if it has one here. */
  ownerOf(chainName: string): string | undefined {
    return this.#ownerOf.get(chainName);
  }
}
