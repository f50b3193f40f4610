// The texts of rules that many chains of a plan have alike are looked at once, and hold for each chain.
import { expect, it } from 'vitest';
import type { Rule } from '../../../src/model/chain.js';
import { act, chain, jump, setUp } from './nftables-setup.js';

const fromInterface = (name: string): Rule => ({
  match: [{ kind: 'in-interface', name }],
  action: { kind: 'accept' },
});

it('NftablesPlane.apply quotes an interface in every chain that names it', async () => {
  const { plane, apply, rules } = setUp();
  const filter = plane.layer('filter');
  for (const name of ['cali-pi-a', 'cali-pi-b']) filter.setChain(chain(name, act('return'), fromInterface('vlan7')));
  filter.setInsertedRules('FORWARD', [jump('cali-pi-a'), jump('cali-pi-b'), fromInterface('vlan7')]);
  await apply();
  const texts = ['cali-pi-a', 'cali-pi-b'].map((name) => rules(`filter-${name}`));
  expect(texts[0]?.[1]).toContain('iifname "vlan7" counter accept');
  expect(texts.map((list) => list?.map((text) => text.replace(/ comment .*/, '')))).toEqual([
    ['counter return', 'iifname "vlan7" counter accept'],
    ['counter return', 'iifname "vlan7" counter accept'],
  ]);
  expect(rules('filter-FORWARD')?.at(-1)).toContain('iifname "vlan7" counter accept');
});

it('NftablesPlane.apply closes every chain whose rule cannot be handed to nft, not only the first', async () => {
  const { plane, apply, rules } = setUp();
  const filter = plane.layer('filter');
  const names = ['cali-pi-a', 'cali-pi-b', 'cali-pi-c'];
  for (const name of names) filter.setChain(chain(name, act('return'), fromInterface('a"; flush ruleset; "')));
  filter.setInsertedRules('FORWARD', names.map(jump));
  const { refused } = await apply();
  expect(refused.map(({ object }) => object)).toEqual(names);
  for (const name of names) expect(rules(`filter-${name}`)?.join()).toContain('drop');
});
