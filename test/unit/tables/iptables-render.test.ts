// Text of iptables rules where it is not covered by the recordings and golden files.
import { describe, expect, it } from 'vitest';
import { BugError } from '../../../src/base/errors.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import { renderChain, ruleHashes } from '../../../src/tables/iptables/hash.js';
import { renderRuleText } from '../../../src/tables/iptables/render.js';

const ctx = { family: 4, features: MODERN_FEATURES } as const;

describe('renderRuleText', () => {
  it('puts the hash comment first, then comments, matches and action', () => {
    const rule = {
      match: [{ kind: 'in-interface', name: 'cali', wildcard: true }],
      action: { kind: 'drop' },
      comments: ['why', 'a"b'],
    } as const;
    expect(renderRuleText(rule, 'HASH', ctx)).toBe(
      '-m comment --comment "cali:HASH" -m comment --comment "why" -m comment --comment "a_b" ' +
        '--in-interface cali+ --jump DROP',
    );
    expect(renderRuleText({ match: [], action: { kind: 'drop' } }, '', ctx)).toBe('--jump DROP');
  });

  it('cuts a comment at 256 characters', () => {
    const text = renderRuleText({ match: [], comments: ['x'.repeat(300)] }, '', ctx);
    expect(text).toBe(`-m comment --comment "${'x'.repeat(256)}"`);
  });

  it('uses what old kernels and tools know', () => {
    const features = {
      ...MODERN_FEATURES,
      nflogSize: false,
      masqueradeFullyRandom: false,
      snatFullyRandom: false,
    };
    const old = { ...ctx, features };
    const text = (action: Parameters<typeof renderRuleText>[0]['action'] & object): string =>
      renderRuleText({ match: [], action }, '', old);
    expect(text({ kind: 'nflog', group: 1, prefix: 'p' })).toBe(
      '--jump NFLOG --nflog-group 1 --nflog-prefix p --nflog-range 80',
    );
    expect(text({ kind: 'masquerade' })).toBe('--jump MASQUERADE');
    expect(text({ kind: 'snat', address: '10.0.0.1', ports: '1-2' })).toBe('--jump SNAT --to-source 10.0.0.1:1-2');
  });

  it('refuses matches that only nft has', () => {
    expect(() => renderRuleText({ match: [{ kind: 'in-interface-map', map: 'm' }] }, '', ctx)).toThrow(BugError);
  });
});

describe('hashes', () => {
  const drop = { match: [], action: { kind: 'drop' } } as const;
  const accept = { match: [], action: { kind: 'accept' } } as const;

  it('cover chain name and all earlier rules', () => {
    const [first, second] = ruleHashes('a', [drop, accept], ctx);
    expect(ruleHashes('b', [drop], ctx)[0]).not.toBe(first);
    expect(ruleHashes('a', [accept, accept], ctx)[1]).not.toBe(second);
    expect(ruleHashes('a', [drop, accept, drop], ctx).slice(0, 2)).toEqual([first, second]);
  });

  it('are those of the texts of renderChain', () => {
    const rendered = renderChain('a', [drop, accept], ctx);
    expect(rendered.hashes).toEqual(ruleHashes('a', [drop, accept], ctx));
    rendered.texts.forEach((text, index) => {
      expect(text).toContain(`"cali:${rendered.hashes[index]}"`);
    });
  });
});
