// Turns the text of a rule, as render.ts prints it, into the entry that iptables-legacy 1.8.9 makes of it (kept equal by
// test/kernel/legacy-compile.test.ts). Any other form gives null, and the tool is asked to do it.
import { addressBytes } from '../../kernel/netlink/address-bytes.js';
import type { Expression } from '../../kernel/netlink/nf-expressions.js';
import { EXTENSION, type XtablesLayout, XTABLES_LAYOUTS } from '../../kernel/netlink/xtables-socket.js';
import type { Family } from '../../model/family.js';
import { type LegacyTarget, matchBytes, portMatchBytes, targetBytes } from './legacy-extensions.js';
import { compileMatch } from './rule-matches.js';
import { type RulePlace, RuleReader } from './rule-reader.js';
import { compileTarget } from './rule-targets.js';
import { addressTest, decimal, isInterfaceName, protocolNumber, wordsOf } from './rule-words.js';

/** The entry of a rule, but for the place that it leads to. */
export interface LegacyEntry {
  readonly bytes: Buffer;
  /** Where the place is in `bytes`, and the chain (null: the next rule); null for other targets. */
  readonly target: { readonly verdictAt: number; readonly chain: string | null } | null;
  /** Where the name of the last interface is that the rule is for; null if it is for any. */
  readonly interfaceAt: number | null;
  /** Where the number of the last IP set is that a match names; null if none does. */
  readonly setAt: number | null;
}

/** Where the verdict is in a standard target, and the one of RETURN. */
export const VERDICT = { at: EXTENSION.data, return: -5 } as const;
/** Bytes of the targets at the head and the foot of chains. */
export const HEAD_TARGET_BYTES = 64;
export const FOOT_TARGET_BYTES = 40;

const INTERFACE_BYTES = 16;
/** IPT_INV_*, the same for both families. */
const INVERTED = { source: 0x08, destination: 0x10, protocol: 0x40 } as const;

/** Fields of struct ipt_ip and ip6t_ip6. */
interface Fields {
  readonly source: number;
  readonly destination: number;
  readonly sourceMask: number;
  readonly destinationMask: number;
  readonly in: number;
  readonly out: number;
  readonly inMask: number;
  readonly outMask: number;
  readonly protocol: number;
  readonly flags: number;
  readonly inverted: number;
  /** IP6T_F_PROTO. */
  readonly protocolFlag: number;
  readonly gotoFlag: number;
}

const FIELDS: Readonly<Record<Family, Fields>> = {
  4: {
    source: 0,
    destination: 4,
    sourceMask: 8,
    destinationMask: 12,
    in: 16,
    out: 32,
    inMask: 48,
    outMask: 64,
    protocol: 80,
    flags: 82,
    inverted: 83,
    protocolFlag: 0,
    gotoFlag: 2,
  },
  6: {
    source: 0,
    destination: 16,
    sourceMask: 32,
    destinationMask: 48,
    in: 64,
    out: 80,
    inMask: 96,
    outMask: 112,
    protocol: 128,
    flags: 131,
    inverted: 132,
    protocolFlag: 1,
    gotoFlag: 4,
  },
};

type TestName = 'in' | 'out' | 'protocol' | 'source' | 'destination';

class RuleCompiler extends RuleReader<LegacyTarget> {
  readonly #fields: Fields;
  readonly #layout: XtablesLayout;
  readonly #entry: Buffer;
  readonly #matches: Buffer[] = [];
  #targetAt: number;
  #interfaceAt: number | null = null;
  #setAt: number | null = null;
  readonly #named = new Set<TestName | 'multiport' | 'tcp' | 'ports'>();

  constructor(place: RulePlace, words: readonly string[]) {
    super(place, words);
    this.#fields = FIELDS[place.family];
    this.#layout = XTABLES_LAYOUTS[place.family];
    this.#entry = Buffer.alloc(this.#layout.entry);
    this.#targetAt = this.#layout.entry;
  }

  get protocol(): number {
    const isNegated = ((this.#entry[this.#fields.inverted] ?? 0) & INVERTED.protocol) !== 0;
    return isNegated ? 0 : this.#entry.readUInt16LE(this.#fields.protocol);
  }

  compile(): LegacyEntry | null {
    const target = this.read();
    if (target === undefined) return null;
    return this.#finish(target ?? { bytes: Buffer.from(EMPTY_TARGET), place: { chain: null } });
  }

  #finish({ bytes, place }: LegacyTarget): LegacyEntry {
    const targetAt = this.#targetAt;
    this.#entry.writeUInt16LE(targetAt, this.#layout.targetOffset);
    this.#entry.writeUInt16LE(targetAt + bytes.length, this.#layout.nextOffset);
    return {
      bytes: Buffer.concat([this.#entry, ...this.#matches, bytes]),
      target: place === null ? null : { verdictAt: targetAt + VERDICT.at, chain: place.chain },
      interfaceAt: this.#interfaceAt,
      setAt: this.#setAt,
    };
  }

  protected target(verb: 'jump' | 'goto'): LegacyTarget | null {
    const expression = compileTarget(this.context(), verb, this.words);
    if (expression === null) return null;
    if (verb === 'goto') this.#setFlags(this.#fields.gotoFlag);
    return targetBytes(expression);
  }

  #setFlags(flags: number): void {
    const at = this.#fields.flags;
    this.#entry[at] = (this.#entry[at] ?? 0) | flags;
  }

  /** A test may be named once; the tool refuses a second. */
  #isFirst(name: TestName): boolean {
    if (this.#named.has(name)) return false;
    this.#named.add(name);
    return true;
  }

  #invert(bit: number): void {
    const at = this.#fields.inverted;
    this.#entry[at] = (this.#entry[at] ?? 0) | bit;
  }

  protected protocolTest(isNegated: boolean): boolean {
    const number = protocolNumber(this.family, this.words.next());
    if (number === null || !this.#isFirst('protocol')) return false;
    this.#entry.writeUInt16LE(number, this.#fields.protocol);
    this.#setFlags(this.#fields.protocolFlag);
    if (isNegated) this.#invert(INVERTED.protocol);
    return true;
  }

  protected interfaceTest(side: 'in' | 'out'): boolean {
    const name = this.words.next();
    if (!isInterfaceName(name) || !this.#isFirst(side)) return false;
    const isPrefix = name.endsWith('+');
    const compared = isPrefix ? name.length - 1 : name.length + 1;
    this.#interfaceAt = this.#fields[side];
    this.#entry.write(name, this.#interfaceAt, INTERFACE_BYTES, 'latin1');
    const maskAt = this.#fields[side === 'in' ? 'inMask' : 'outMask'];
    this.#entry.fill(0xff, maskAt, maskAt + compared);
    return true;
  }

  protected addressTest(side: 'source' | 'destination', isNegated: boolean): boolean {
    const test = addressTest(this.family, this.words.next());
    if (test === null || !this.#isFirst(side)) return false;
    // All addresses are no test; none of them is no rule that anybody writes.
    if (test.length === 0) return !isNegated;
    addressBytes(this.family, test.value).copy(this.#entry, this.#fields[side]);
    const maskAt = this.#fields[side === 'source' ? 'sourceMask' : 'destinationMask'];
    addressBytes(this.family, test.mask).copy(this.#entry, maskAt);
    if (isNegated) this.#invert(INVERTED[side]);
    return true;
  }

  protected match(): boolean {
    const name = this.words.next();
    const expressions: readonly Expression[] | null = compileMatch(this, name, this.words);
    const bytes = expressions === null ? null : matchBytes(name, expressions);
    if (bytes === null) return false;
    if (name === 'multiport') this.#named.add(name);
    if (name === 'tcp') {
      // Its options would come into one struct.
      if (this.#named.has('tcp') || this.#named.has('ports')) return false;
      this.#named.add(name);
    }
    // The first field of its data.
    if (name === 'set') this.#setAt = this.#targetAt + EXTENSION.data;
    this.#add(bytes);
    return true;
  }

  protected destinationPort(): boolean {
    if (this.#named.has('multiport') || this.#named.has('tcp') || this.#named.has('ports')) return false;
    const port = decimal(this.words.next(), 0xffff);
    const bytes = port === null ? null : portMatchBytes(this.protocol, port);
    if (bytes === null) return false;
    this.#named.add('ports');
    this.#add(bytes);
    return true;
  }

  #add(match: Buffer): void {
    this.#matches.push(match);
    this.#targetAt += match.length;
  }
}

const EMPTY_TARGET = Buffer.alloc(FOOT_TARGET_BYTES);
EMPTY_TARGET.writeUInt16LE(FOOT_TARGET_BYTES);

function entryWith(family: Family, target: Buffer): Buffer {
  const { entry, targetOffset, nextOffset } = XTABLES_LAYOUTS[family];
  const bytes = Buffer.concat([Buffer.alloc(entry), target]);
  bytes.writeUInt16LE(entry, targetOffset);
  bytes.writeUInt16LE(bytes.length, nextOffset);
  return bytes;
}

/** The first entry of a chain that is not the kernel's. */
export function chainHead(family: Family, name: string): Buffer {
  const target = Buffer.alloc(HEAD_TARGET_BYTES);
  target.writeUInt16LE(HEAD_TARGET_BYTES);
  target.write('ERROR', EXTENSION.name, 'latin1');
  target.write(name, EXTENSION.data, 'latin1');
  return entryWith(family, target);
}

/** The last entry of a chain that is not the kernel's. */
export function chainFoot(family: Family): Buffer {
  const target = Buffer.from(EMPTY_TARGET);
  target.writeInt32LE(VERDICT.return, VERDICT.at);
  return entryWith(family, target);
}

/** Bytes of a chain without rules. */
export function chainBytes(family: Family): number {
  return 2 * XTABLES_LAYOUTS[family].entry + HEAD_TARGET_BYTES + FOOT_TARGET_BYTES;
}

/** The entry of a rule's text. */
export function compileLegacyRule(place: RulePlace, text: string): LegacyEntry | null {
  const words = wordsOf(text);
  return words === null ? null : new RuleCompiler(place, words).compile();
}
