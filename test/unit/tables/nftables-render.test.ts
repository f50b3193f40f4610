// Text of nft rules where it is not covered by the recordings and golden files.
import { describe, expect, it } from 'vitest';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import { renderChain } from '../../../src/tables/nftables/hash.js';
import { layerName, nftSetName, renderComment, renderRuleText } from '../../../src/tables/nftables/render.js';

const ctx = { family: 4, features: MODERN_FEATURES, layer: 'filter' } as const;

describe('renderRuleText', () => {
  it.each([
    ['bridge', '"bridge"'],
    ['1eth', '"1eth"'],
    ['lan', 'lan'],
    ['eth0.100', 'eth0.100'],
  ])('quotes interface %s only if nft would not take it bare', (name, text) => {
    expect(renderRuleText({ match: [{ kind: 'in-interface', name }] }, ctx)).toBe(`iifname ${text}`);
  });

  it('says continue for a rule without match and action, and has no counter without action', () => {
    expect(renderRuleText({ match: [] }, ctx)).toBe('continue');
    expect(renderRuleText({ match: [{ kind: 'in-interface-map', map: 'cali-m' }] }, ctx)).toBe(
      'iifname vmap @filter-cali-m',
    );
  });

  it.each([
    ['x'.repeat(125), 'x'.repeat(125)],
    ['x'.repeat(126), 'x'.repeat(125)],
    ['é'.repeat(100), 'é'.repeat(62)],
  ])('cuts a log prefix so that prefix and colon have 127 bytes', (prefix, text) => {
    const rule = { match: [], action: { kind: 'log', prefix } } as const;
    expect(renderRuleText(rule, ctx)).toBe(`counter log prefix "${text}: " level info`);
  });

  it('brackets an IPv6 address with port', () => {
    const action = { kind: 'dnat', address: 'fd00::1', port: 80 } as const;
    expect(renderRuleText({ match: [], action }, { ...ctx, family: 6 })).toBe('counter dnat to [fd00::1]:80');
  });

  it('leaves fully-random out when the kernel has it not', () => {
    const features = { ...MODERN_FEATURES, masqueradeFullyRandom: false, snatFullyRandom: false };
    const texts = renderChain(
      'c',
      [
        { match: [], action: { kind: 'masquerade', ports: '1-2' } },
        { match: [], action: { kind: 'snat', address: '10.0.0.1' } },
      ],
      { ...ctx, features },
    ).texts;
    expect(texts).toEqual(['counter masquerade to :1-2', 'counter snat to 10.0.0.1']);
  });
});

describe('renderComment', () => {
  it('shares what the hash leaves of 128 characters out evenly', () => {
    const text = renderComment({ match: [], comments: ['a'.repeat(200), 'b'.repeat(200)] }, '0123456789abcdef');
    expect(text).toHaveLength(128);
    expect(text).toBe(`cali:0123456789abcdef; ${'a'.repeat(53)} ${'b'.repeat(51)}`);
  });

  it('replaces what nft can not take, one underscore per character', () => {
    expect(renderComment({ match: [], comments: ['a"é🙂\n'] }, 'h')).toBe('cali:h; a____');
  });
});

describe('names', () => {
  it('get the layer prefix once, and sets lose their colons', () => {
    expect(layerName('filter', 'cali-INPUT')).toBe('filter-cali-INPUT');
    expect(layerName('filter', 'filter-INPUT')).toBe('filter-INPUT');
    expect(nftSetName('cali40s:abc')).toBe('cali40s-abc');
  });
});
