// Reads a rule's options in the order of its words, for the compilers of both variants: which options there are, and which
// may be negated, is the same for both.
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import type { Family, TableName } from '../../model/family.js';
import { WordReader } from '../word-reader.js';
import { isPortProtocol, type MatchContext } from './rule-matches.js';
import type { RuleContext } from './rule-targets.js';

const TCP = 6;

/** Where a rule is, and what it may refer to. */
export interface RulePlace {
  readonly family: Family;
  readonly table: TableName;
  findSet(name: string): IpsetNumber | null;
}

/** Reads one rule. Each of the methods that a variant adds reads the words of its option; false or null: another form. */
export abstract class RuleReader<Target> implements MatchContext {
  readonly family: Family;
  protected readonly words: WordReader;
  readonly #place: RulePlace;

  constructor(place: RulePlace, words: readonly string[]) {
    this.#place = place;
    this.family = place.family;
    this.words = new WordReader(words);
  }

  /** See MatchContext: the one protocol that the rule is for, or 0. */
  abstract get protocol(): number;

  findSet(name: string): IpsetNumber | null {
    return this.#place.findSet(name);
  }

  /** The rule's target, or null if it has none; `undefined` where the rule has a form that is not known. */
  protected read(): Target | null | undefined {
    while (!this.words.isAtEnd) {
      const word = this.words.next();
      if (word === '--jump' || word === '-j' || word === '--goto') {
        return this.target(word === '--goto' ? 'goto' : 'jump') ?? undefined;
      }
      if (!this.#option(word)) return undefined;
    }
    return null;
  }

  /** What a target may depend on. */
  protected context(): RuleContext {
    const { family, table } = this.#place;
    return { family, table, hasPorts: isPortProtocol(this.protocol), isTcp: this.protocol === TCP };
  }

  protected abstract target(verb: 'jump' | 'goto'): Target | null;
  protected abstract protocolTest(isNegated: boolean): boolean;
  protected abstract addressTest(side: 'source' | 'destination', isNegated: boolean): boolean;
  protected abstract interfaceTest(side: 'in' | 'out'): boolean;
  protected abstract match(): boolean;
  /** `--dport` without `-m`: the tool takes it for an option of the protocol, or of a multiport match before it. */
  protected abstract destinationPort(): boolean;

  #option(word: string): boolean {
    const isNegated = word === '!';
    switch (isNegated ? this.words.next() : word) {
      case '-p':
        return this.protocolTest(isNegated);
      case '--source':
        return this.addressTest('source', isNegated);
      case '--destination':
        return this.addressTest('destination', isNegated);
      case '--in-interface':
        return !isNegated && this.interfaceTest('in');
      case '--out-interface':
        return !isNegated && this.interfaceTest('out');
      case '-m':
        return !isNegated && this.match();
      case '--dport':
        return !isNegated && this.destinationPort();
      default:
        return false;
    }
  }
}
