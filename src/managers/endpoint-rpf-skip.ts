// The chain `cali-rpf-skip`: sources beyond its own addresses that a workload may send from (dataplane.md 2.4).
import { isPlainEqual } from '../base/plain-equal.js';
import { isValidCidr } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';

/** Prefixes by interface. The chain always exists, empty at start. */
export class RpfSkipChain {
  readonly #renderer: RuleRenderer;
  readonly #rawTable: RuleTable;
  readonly #log: Logger;
  readonly #prefixes = new Map<string, readonly string[]>();
  #isDirty = true;

  constructor(renderer: RuleRenderer, rawTable: RuleTable, log: Logger) {
    this.#renderer = renderer;
    this.#rawTable = rawTable;
    this.#log = log;
  }

  /** Replaces an interface's prefixes of both families; those of the other family, and bad ones, are left out. */
  setPrefixes(interfaceName: string, prefixes: readonly string[]): void {
    const own = prefixes.filter((prefix) => {
      if (!isValidCidr(prefix)) {
        this.#log.error('source prefix is not a CIDR; packets from it stay blocked', { interfaceName, prefix });
      }
      return isValidCidr(prefix, this.#rawTable.family);
    });
    if (isPlainEqual(own, this.#prefixes.get(interfaceName) ?? [])) return;
    if (own.length > 0) this.#prefixes.set(interfaceName, own);
    else this.#prefixes.delete(interfaceName);
    this.#isDirty = true;
  }

  /** Hands the chain over if it changed. */
  flush(): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    this.#rawTable.setChain(this.#renderer.rpfSkipChain(this.#prefixes));
  }
}
