// Hashes that Felix's own renderer made of made-up cases (felix-cases.ts): ours must be the same, chain by chain, also
// for parameters and combinations that no recording has. They were made by a program that gives each case's input to
// felix/rules, felix/iptables and felix/nftables of August 2026 (commit 87c15906f20c).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MODERN_FEATURES } from '../../src/model/features.js';
import * as iptables from '../../src/tables/iptables/hash.js';
import * as nftables from '../../src/tables/nftables/hash.js';
import { type FelixCase, felixCases } from './felix-cases.js';

/** Stands for a chain that is another on purpose (docs/differences.md, rows 2, 5 and 9). */
const DIFFERS = 'differs';

/**
 * Per case, per chain in the order of the case: the hash of the chain's last rule, which covers its name and all of its
 * rules; empty for a chain without rules.
 */
const VECTORS = JSON.parse(
  readFileSync(new URL('../fixtures/felix-hashes.json', import.meta.url), 'utf8'),
) as readonly (readonly string[])[];

function lastHash({ backend, family, table }: FelixCase, chain: FelixCase['chains'][number]): string {
  const features = MODERN_FEATURES;
  const hashes =
    backend === 'iptables'
      ? iptables.ruleHashes(chain.name, chain.rules, { family, features })
      : nftables.ruleHashes(chain.name, chain.rules, { family, features, layer: table });
  return hashes.at(-1) ?? '';
}

describe("Felix's renderer", () => {
  const cases = felixCases(VECTORS.length);

  it('makes the same chains of every case', () => {
    const wrong: unknown[] = [];
    let [compared, differing] = [0, 0];
    cases.forEach((each, index) => {
      const expected = VECTORS[index] ?? [];
      expect(each.chains).toHaveLength(expected.length);
      each.chains.forEach((chain, at) => {
        const isEqual = chain.refused === undefined && lastHash(each, chain) === expected[at];
        if (expected[at] === DIFFERS) differing += 1;
        else compared += 1;
        if (isEqual || expected[at] === DIFFERS) return;
        const { backend, family, table, operation } = each;
        wrong.push({ index, backend, family, table, operation, chain: chain.name, refused: chain.refused });
      });
    });
    expect(wrong).toEqual([]);
    expect({ compared, differing }).toEqual({ compared: 1969, differing: 48 });
  });

  it('is asked about every operation and table, in both back ends and families', () => {
    const asked = cases.map(({ backend, family, table, operation }) => `${backend} ${family} ${table} ${operation}`);
    const operations = new Set(cases.map(({ table, operation }) => `${table} ${operation}`));
    expect(operations.size).toBe(19);
    // 19 in two back ends and two families, less one that the dice left out.
    expect(new Set(asked).size).toBe(75);
  });
});
