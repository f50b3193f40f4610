// Turns the text of a rule, as render.ts prints it, into the expressions that iptables-nft 1.8.9 makes of it (kept equal
// by test/kernel/iptables-compile.test.ts). Any other form gives null, and the tool is asked to do it.
import type { Family, TableName } from '../../model/family.js';
import { addressBytes } from '../../kernel/netlink/address-bytes.js';
import type { RuleProtocol } from '../../kernel/netlink/compat-batch.js';
import { type Expression, FIRST_REGISTER, HEADER, META } from '../../kernel/netlink/nf-expressions.js';
import { compileMatch, isPortProtocol, type MatchContext, portTest } from './rule-matches.js';
import { compileTarget } from './rule-targets.js';
import { addressTest, isInterfaceName, protocolNumber, wordsOf } from './rule-words.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { WordReader } from '../word-reader.js';

const TCP = 6;
const LAYOUT = { 4: { source: 12, dest: 16, length: 4 }, 6: { source: 8, dest: 24, length: 16 } } as const;

/** A rule's expressions, but for a comment in front of all matches, which goes between the two parts. */
export interface CompiledRule {
  readonly before: readonly Expression[];
  readonly after: readonly Expression[];
  readonly protocol: RuleProtocol;
}

/** Where a rule is, and what it may refer to. */
export interface RulePlace {
  readonly family: Family;
  readonly table: TableName;
  findSet(name: string): IpsetNumber | null;
}

/** The order of the tests is the kernel's, whatever the order of the words. */
const TESTS = ['in', 'out', 'protocol', 'source', 'destination'] as const;
type TestName = (typeof TESTS)[number];

class RuleCompiler implements MatchContext {
  readonly family: Family;
  readonly #place: RulePlace;
  readonly #words: WordReader;
  readonly #tests: Partial<Record<TestName, readonly Expression[]>> = {};
  readonly #matches: Expression[] = [];
  #protocol: RuleProtocol = { number: 0, isNegated: false };
  #hasMultiport = false;

  constructor(place: RulePlace, words: readonly string[]) {
    this.#place = place;
    this.family = place.family;
    this.#words = new WordReader(words);
  }

  /** See MatchContext: the one protocol that the rule is for, or 0. */
  get protocol(): number {
    return this.#protocol.isNegated ? 0 : this.#protocol.number;
  }

  findSet(name: string): IpsetNumber | null {
    return this.#place.findSet(name);
  }

  compile(): CompiledRule | null {
    let target: Expression | null = null;
    while (!this.#words.isAtEnd && target === null) {
      const word = this.#words.next();
      if (word === '--jump' || word === '-j' || word === '--goto') {
        target = this.#target(word === '--goto' ? 'goto' : 'jump');
        if (target === null) return null;
      } else if (!this.#option(word)) return null;
    }
    const before = TESTS.flatMap((name) => this.#tests[name] ?? []);
    const after = [...this.#matches, { kind: 'counter' as const }, ...(target === null ? [] : [target])];
    return { before, after, protocol: this.#protocol };
  }

  #target(verb: 'jump' | 'goto'): Expression | null {
    const { family, table } = this.#place;
    const hasPorts = isPortProtocol(this.protocol);
    return compileTarget({ family, table, hasPorts, isTcp: this.protocol === TCP }, verb, this.#words);
  }

  #option(word: string): boolean {
    const isNegated = word === '!';
    switch (isNegated ? this.#words.next() : word) {
      case '-p':
        return this.#protocolTest(isNegated);
      case '--source':
        return this.#addressTest('source', isNegated);
      case '--destination':
        return this.#addressTest('destination', isNegated);
      case '--in-interface':
        return !isNegated && this.#interfaceTest('in');
      case '--out-interface':
        return !isNegated && this.#interfaceTest('out');
      case '-m':
        return !isNegated && this.#match();
      case '--dport':
        return !isNegated && this.#destinationPort();
      default:
        return false;
    }
  }

  /** A test may be named once; the tool refuses a second. */
  #test(name: TestName, expressions: readonly Expression[]): boolean {
    if (this.#tests[name] !== undefined) return false;
    this.#tests[name] = expressions;
    return true;
  }

  #protocolTest(isNegated: boolean): boolean {
    const number = protocolNumber(this.family, this.#words.next());
    if (number === null) return false;
    this.#protocol = { number, isNegated };
    return this.#test('protocol', [
      { kind: 'meta', key: META.protocol, register: FIRST_REGISTER },
      { kind: 'compare', negated: isNegated, value: Buffer.from([number]) },
    ]);
  }

  #interfaceTest(side: 'in' | 'out'): boolean {
    const name = this.#words.next();
    const isPrefix = name.endsWith('+');
    if (!isInterfaceName(name)) return false;
    return this.#test(side, [
      { kind: 'meta', key: side === 'in' ? META.iifname : META.oifname, register: FIRST_REGISTER },
      { kind: 'compare', negated: false, value: Buffer.from(isPrefix ? name.slice(0, -1) : `${name}\0`, 'latin1') },
    ]);
  }

  #addressTest(side: 'source' | 'destination', isNegated: boolean): boolean {
    const layout = LAYOUT[this.family];
    const test = addressTest(this.family, this.#words.next());
    if (test === null) return false;
    // All addresses are no test; none of them is no rule that anybody writes.
    if (test.length === 0) return !isNegated && this.#test(side, []);
    const offset = side === 'source' ? layout.source : layout.dest;
    const bytes = addressBytes(this.family, test.value);
    const load = (length: number): Expression => {
      return { kind: 'payload', base: HEADER.network, offset, length, register: FIRST_REGISTER };
    };
    if (test.length % 8 === 0) {
      // Whole bytes: only they are loaded.
      const value = bytes.subarray(0, test.length / 8);
      return this.#test(side, [load(value.length), { kind: 'compare', negated: isNegated, value }]);
    }
    return this.#test(side, [
      load(layout.length),
      { kind: 'bitwise', mask: addressBytes(this.family, test.mask), xor: Buffer.alloc(layout.length) },
      { kind: 'compare', negated: isNegated, value: bytes },
    ]);
  }

  #match(): boolean {
    const name = this.#words.next();
    const expressions = compileMatch(this, name, this.#words);
    if (expressions === null) return false;
    this.#hasMultiport ||= name === 'multiport';
    this.#matches.push(...expressions);
    return true;
  }

  /** `--dport` without `-m`: the tool takes it for an option of the protocol, or of a multiport match before it. */
  #destinationPort(): boolean {
    const test = this.#hasMultiport ? null : portTest(this, this.#words.next());
    if (test === null) return false;
    this.#matches.push(...test);
    return true;
  }
}

/** The expressions of a rule's text without the comment that may be in front of it. */
export function compileRule(place: RulePlace, text: string): CompiledRule | null {
  const words = wordsOf(text);
  return words === null ? null : new RuleCompiler(place, words).compile();
}
