// What the two readers of iptables tables find out: enough to compare a table with what is wanted, nothing to print it.

/** The rules of a table by their tags: what follows a prefix in a comment. */
export interface TaggedRules {
  /** Every chain, and the tag of each of its rules in order; the empty text for a rule without one. */
  readonly tags: ReadonlyMap<string, readonly string[]>;
  /** Chain → chains and target extensions that its rules without a tag lead to. */
  readonly others: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Collects {@link TaggedRules}. */
export class TaggedRulesBuilder implements TaggedRules {
  readonly tags = new Map<string, string[]>();
  readonly others = new Map<string, Set<string>>();

  /** The list of a chain's tags, to add to. */
  chain(name: string): string[] {
    let tags = this.tags.get(name);
    if (tags === undefined) {
      tags = [];
      this.tags.set(name, tags);
    }
    return tags;
  }

  /** A rule without a tag leads there. */
  addOther(chain: string, target: string): void {
    const targets = this.others.get(chain);
    if (targets === undefined) this.others.set(chain, new Set([target]));
    else targets.add(target);
  }
}
