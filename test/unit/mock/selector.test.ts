import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SelectorError } from '../../../src/mock/selector/parser.js';
import { attachLabelPrefix, parseSelector, uniqueId } from '../../../src/mock/selector/selector.js';

// The table of calc-graph.md section 4.
const VECTORS: readonly (readonly [string, string, string])[] = [
  ['', 'all()', 's:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug'],
  ['all()', 'all()', 's:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug'],
  ["app == 'pod1'", 'app == "pod1"', 's:Bk3eI1L3T7mos8bkjlwMC8npAOOm7TI36syQ-Q'],
  ["role=='client'&&app!='x'", '(role == "client" && app != "x")', 's:lsvCKYgowNYXiIBSSGIKegrC6HWBzvpirPJBZg'],
  ["a in {'z','b', 'b'}", 'a in {"b", "z"}', 's:YaPxdvgttlu309UgAoscNaHNhjvEZFBWtwEAdA'],
  ["a notin {'q'}", 'a not in {"q"}', 's:n_Wx9z0VkAlyRLqaxxUtBp9qX6AT4elV2o_ldw'],
  ['!!has(x)', 'has(x)', 's:PvZGPL1dAgzo6vXmSYhpGFUIgcBYO2i2LBZJSA'],
  [
    "!has(x) && (a == 'b' || c contains 'd')",
    '(!has(x) && (a == "b" || c contains "d"))',
    's:AZtd1tyyzWmjIlzZP34KbcQpmpdPwxJ4-PFS_w',
  ],
  [
    "a starts with 'x' || a endswith 'y'",
    '(a starts with "x" || a ends with "y")',
    's:tiw-Sr1BuqbQflV_0fJ1K0hNikVzz8FkR5Lh6g',
  ],
  ['has(a) && (has(b) && has(c))', '(has(a) && (has(b) && has(c)))', 's:GljJ0y7HNsY9N3Ua0ALAS9k3IgkAjQ1rtMfBmg'],
  ["! (a == 'b')", '!a == "b"', 's:Nx82quSiQDReg0K-G_bP30Nmx32uDaoGbVK4Pw'],
  [`a == 'it"s'`, `a == 'it"s'`, 's:xyyfX4RhugSo4cTZT2SvAiWuYL9F2WxwBqb4RQ'],
];

describe('parseSelector', () => {
  it.each(VECTORS)('%s has the canonical text and id of Felix', (text, canonical, id) => {
    const selector = parseSelector(text);
    expect(selector.text).toBe(canonical);
    expect(selector.id).toBe(id);
  });

  it.each([
    ['has( x )', 'has(x)'],
    ['\t all( ) ', 'all()'],
    ["has == 'x'", 'has == "x"'],
    ["all in {'x',}", 'all in {"x"}'],
    ['a in {}', 'a in {}'],
    ["a starts   with 'x'", 'a starts with "x"'],
    ["a not\tin{'b'}", 'a not in {"b"}'],
    ["!!!a=='b'", '!a == "b"'],
    ["((a == 'b'))", 'a == "b"'],
    ["in in {'x'}", 'in in {"x"}'],
    ["a.b/c-d_e contains ''", 'a.b/c-d_e contains ""'],
  ])('%s is allowed', (text, canonical) => {
    expect(parseSelector(text).text).toBe(canonical);
  });

  it.each([
    ['a', 'not in, after the label a, found the end'],
    ['a == b', 'expected a text in quotes, found "b"'],
    ["a == 'b", "expected the closing '"],
    ["a == 'b' &&", 'expected a label'],
    ["a == 'b' c", 'expected &&, || or the end, found "c"'],
    ["a in {'b'", 'expected }'],
    ['has (x)', 'after the label has'],
    ["a inb {'x'}", 'after the label a'],
    ["(a == 'b'", 'expected )'],
    ["a == 'b' & c == 'd'", 'expected &&'],
    ["a\n== 'b'", 'after the label a'],
    ['has(x', 'expected )'],
    ['a'.repeat(513) + "=='b'", 'at most 512 characters'],
  ])('%s is refused with place and reason', (text, reason) => {
    expect(() => parseSelector(text)).toThrow(SelectorError);
    expect(() => parseSelector(text)).toThrow(reason);
  });

  it('reports the column of the fault', () => {
    try {
      parseSelector("app == 'x' && = 'y'");
      expect.unreachable();
    } catch (error) {
      expect((error as SelectorError).column).toBe(15);
    }
  });
});

describe('Selector.matches', () => {
  const labels: Record<string, string> = { a: 'bcd', empty: '' };
  const lookup = (label: string): string | undefined => labels[label];

  it.each([
    ["a == 'bcd'", true],
    ["a == 'b'", false],
    ["x == 'b'", false],
    ["a != 'b'", true],
    ["x != 'b'", true],
    ["a != 'bcd'", false],
    ["a contains 'c'", true],
    ["x contains ''", false],
    ["a starts with 'bc'", true],
    ["a ends with 'cd'", true],
    ["a ends with 'bc'", false],
    ["a in {'x', 'bcd'}", true],
    ["x in {'x'}", false],
    ["a not in {'x'}", true],
    ["x not in {'x'}", true],
    ["a not in {'bcd'}", false],
    ['a in {}', false],
    ['has(empty)', true],
    ['has(x)', false],
    ['!has(x)', true],
    ['global()', true],
    ["has(a) && x == 'y'", false],
    ["has(a) || x == 'y'", true],
    ["!(has(a) && x == 'y')", true],
    ['has(x) && has(y) || has(a)', true],
  ])('%s', (text, expected) => {
    expect(parseSelector(text).matches(lookup)).toBe(expected);
  });

  it('of the canonical text agrees with the source text, unless a negation lost its parentheses', () => {
    const label = fc.constantFrom('a', 'b', 'c');
    const value = fc.constantFrom('x', 'y', '');
    const { node } = fc.letrec<{ node: string }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc
          .tuple(label, fc.constantFrom('==', '!=', 'contains', 'starts with', 'ends with'), value)
          .map(([l, op, v]) => `${l} ${op} '${v}'`),
        label.map((l) => `has(${l})`),
        fc
          .tuple(label, fc.constantFrom('in', 'not in'), fc.array(value))
          .map(([l, op, vs]) => `${l} ${op} {${vs.map((v) => `'${v}'`).join(',')}}`),
        fc.tuple(tie('node'), fc.constantFrom('&&', '||'), tie('node')).map(([a, op, b]) => `(${a} ${op} ${b})`),
      ),
    }));
    fc.assert(
      fc.property(node, fc.dictionary(label, value), (text, own) => {
        const selector = parseSelector(text);
        const again = parseSelector(selector.text);
        expect(again.text).toBe(selector.text);
        expect(again.matches((l) => own[l])).toBe(selector.matches((l) => own[l]));
      }),
    );
  });
});

describe('attachLabelPrefix', () => {
  it('prefixes every label and prints canonically', () => {
    expect(attachLabelPrefix("a == 'b' && !has(c) || all()", 'pcns.')).toBe(
      '((pcns.a == "b" && !has(pcns.c)) || all())',
    );
  });
});

describe('uniqueId', () => {
  it.each([
    ['n', `${parseSelector('all()').id},tcp,http`, 'n:cl9_Kgeu4H0OGLbhovVR3NBLUOZscKeMK1Mu4A'],
    ['n', `${parseSelector('all()').id},any,http`, 'n:FvKMFOOSYvkZZJ0ch1bwT7bt3AAgySwlMLqMDA'],
    ['svc', 'default/web', 'svc:-B0RxVUwdW1aFEcXPP4q2GF3e68JsTwIe-pf7w'],
    ['svcnoport', 'default/web', 'svcnoport:b_Odath8L_-pMWpLC_tua_hO2jguw5ajClao3w'],
  ])('%s of %s is that of Felix', (prefix, content, id) => {
    expect(uniqueId(prefix, content)).toBe(id);
  });
});
