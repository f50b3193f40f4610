// Turns the text of a rule, as render.ts prints it, into the expressions that iptables-nft 1.8.9 makes of it (kept equal
// by test/kernel/iptables-compile.test.ts). Any other form gives null, and the tool is asked to do it.
import { addressBytes } from '../../kernel/netlink/address-bytes.js';
import type { RuleProtocol } from '../../kernel/netlink/compat-batch.js';
import { type Expression, FIRST_REGISTER, HEADER, META } from '../../kernel/netlink/nf-expressions.js';
import { compileMatch, portTest } from './rule-matches.js';
import { type RulePlace, RuleReader } from './rule-reader.js';
import { compileTarget } from './rule-targets.js';
import { addressTest, isInterfaceName, protocolNumber, wordsOf } from './rule-words.js';

const LAYOUT = { 4: { source: 12, dest: 16, length: 4 }, 6: { source: 8, dest: 24, length: 16 } } as const;

/** A rule's expressions, but for a comment in front of all matches, which goes between the two parts. */
export interface CompiledRule {
  readonly before: readonly Expression[];
  readonly after: readonly Expression[];
  readonly protocol: RuleProtocol;
}

/** The order of the tests is the kernel's, whatever the order of the words. */
const TESTS = ['in', 'out', 'protocol', 'source', 'destination'] as const;
type TestName = (typeof TESTS)[number];

class RuleCompiler extends RuleReader<Expression> {
  readonly #tests: Partial<Record<TestName, readonly Expression[]>> = {};
  readonly #matches: Expression[] = [];
  #protocol: RuleProtocol = { number: 0, isNegated: false };
  #hasMultiport = false;

  get protocol(): number {
    return this.#protocol.isNegated ? 0 : this.#protocol.number;
  }

  compile(): CompiledRule | null {
    const target = this.read();
    if (target === undefined) return null;
    const before = TESTS.flatMap((name) => this.#tests[name] ?? []);
    const after = [...this.#matches, { kind: 'counter' as const }, ...(target === null ? [] : [target])];
    return { before, after, protocol: this.#protocol };
  }

  protected target(verb: 'jump' | 'goto'): Expression | null {
    return compileTarget(this.context(), verb, this.words);
  }

  /** A test may be named once; the tool refuses a second. */
  #test(name: TestName, expressions: readonly Expression[]): boolean {
    if (this.#tests[name] !== undefined) return false;
    this.#tests[name] = expressions;
    return true;
  }

  protected protocolTest(isNegated: boolean): boolean {
    const number = protocolNumber(this.family, this.words.next());
    if (number === null) return false;
    this.#protocol = { number, isNegated };
    return this.#test('protocol', [
      { kind: 'meta', key: META.protocol, register: FIRST_REGISTER },
      { kind: 'compare', negated: isNegated, value: Buffer.from([number]) },
    ]);
  }

  protected interfaceTest(side: 'in' | 'out'): boolean {
    const name = this.words.next();
    const isPrefix = name.endsWith('+');
    if (!isInterfaceName(name)) return false;
    return this.#test(side, [
      { kind: 'meta', key: side === 'in' ? META.iifname : META.oifname, register: FIRST_REGISTER },
      { kind: 'compare', negated: false, value: Buffer.from(isPrefix ? name.slice(0, -1) : `${name}\0`, 'latin1') },
    ]);
  }

  protected addressTest(side: 'source' | 'destination', isNegated: boolean): boolean {
    const layout = LAYOUT[this.family];
    const test = addressTest(this.family, this.words.next());
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

  protected match(): boolean {
    const name = this.words.next();
    const expressions = compileMatch(this, name, this.words);
    if (expressions === null) return false;
    this.#hasMultiport ||= name === 'multiport';
    this.#matches.push(...expressions);
    return true;
  }

  protected destinationPort(): boolean {
    const test = this.#hasMultiport ? null : portTest(this, this.words.next());
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
