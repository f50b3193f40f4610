// Turns the text of a rule, as render.ts prints it, into nf_tables expressions. Knows the forms that occur on every node.
import { parseAddress, parseCidr } from '../../base/ip.js';
import { addressBytes } from '../../kernel/netlink/address-bytes.js';
import {
  CT,
  type Expression,
  FIB,
  FIRST_REGISTER,
  HEADER,
  META,
  VERDICT_CODE,
  wordRegister,
} from '../../kernel/netlink/nf-expressions.js';
import { WordReader } from '../word-reader.js';
import type { NftFamily } from './io.js';
import {
  type AddressPlace,
  ARP_REPLY,
  COUNTER,
  LAYOUT,
  LOAD_INTERFACE,
  LOAD_MARK,
  LOAD_PORT,
  payload,
  PORTS,
  protocolTest,
  SET_MARK,
  u16,
  u32,
} from './rule-parts.js';

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  ipencap: 4,
  tcp: 6,
  udp: 17,
  gre: 47,
  'ipv6-icmp': 58,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
};
const CT_STATES: Readonly<Record<string, number>> = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
};
const CT_STATUS_DNAT = 32;
const ICMP_TYPES: Readonly<Record<string, number>> = {
  'mld-listener-query': 130,
  'mld-listener-report': 131,
  'mld-listener-done': 132,
  'nd-router-solicit': 133,
  'nd-router-advert': 134,
  'nd-neighbor-solicit': 135,
  'nd-neighbor-advert': 136,
};
const ADDRESS_TYPES: Readonly<Record<string, number>> = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
};
const INTERFACE_NAME_LENGTH = 16;
const FULLY_RANDOM = 16;

/** A number in hexadecimal with `0x`, as marks are printed. */
const HEX = /^0x[0-9a-f]+$/;
const DECIMAL = /^\d+$/;
const STATE_NAMES = /^[a-z,]+$/;

/** Whether this can stand behind `@` as the name of a set. */
export function isSetName(name: string): boolean {
  return name !== '' && !/["{}]/.test(name);
}

const NO_WORDS = new WordReader([]);

/** Reads one text after the other. */
export class RuleCompiler {
  readonly #family: NftFamily;
  #words = NO_WORDS;
  #out: Expression[] = [];
  /** The l4proto that an earlier expression made sure of: nft does not test it twice. */
  #protocol: number | null = null;
  /** Nothing follows the words. */
  #isWhole = true;

  constructor(family: NftFamily) {
    this.#family = family;
  }

  /** The text that was read last made sure of a protocol, on which matches behind it depend. */
  get hasProtocol(): boolean {
    return this.#protocol !== null;
  }

  /** The expressions of matches and statements, or null for a form that is not known. `isWhole`: the rule ends with them. */
  compile(text: string, isWhole: boolean): Expression[] | null {
    this.#words = new WordReader(text.split(' '));
    this.#isWhole = isWhole;
    this.#protocol = null;
    this.#out = [];
    while (!this.#words.isAtEnd) if (!this.#step()) return null;
    return this.#out;
  }

  /** Whether the rule ends here. */
  get #isAtEnd(): boolean {
    return this.#isWhole && this.#words.isAtEnd;
  }

  /** One match or statement; false for a form that is not known. */
  #step(): boolean {
    const word = this.#words.next();
    switch (word) {
      case 'counter':
        this.#out.push(COUNTER);
        return true;
      case 'accept':
      case 'drop':
      case 'return':
      case 'continue':
        this.#out.push({ kind: 'verdict', code: VERDICT_CODE[word] });
        return this.#isAtEnd;
      case 'jump':
      case 'goto':
        return this.#jump(word);
      case 'meta':
        return this.#meta();
      case 'iifname':
      case 'oifname':
        return this.#interface(word);
      case 'ip':
      case 'ip6':
        return this.#address(word);
      case 'tcp':
      case 'udp':
      case 'sctp':
        return this.#ports(PROTOCOLS[word] ?? 0);
      case 'ct':
        return this.#conntrack();
      case 'fib':
        return this.#fib();
      case 'icmpv6':
        return this.#icmp();
      case 'arp':
        return this.#arpReply();
      case 'notrack':
        this.#out.push({ kind: 'notrack' });
        return this.#isAtEnd;
      case 'masquerade':
        this.#out.push({ kind: 'masquerade', flags: this.#words.take('fully-random') ? FULLY_RANDOM : 0 });
        return this.#isAtEnd;
      default:
        return false;
    }
  }

  #jump(verb: 'jump' | 'goto'): boolean {
    const chain = this.#words.next();
    if (chain === '' || /["{}]/.test(chain)) return false;
    this.#out.push({ kind: 'verdict', code: VERDICT_CODE[verb], chain });
    return this.#isAtEnd;
  }

  #meta(): boolean {
    if (this.#words.take('mark')) return this.#mark();
    return this.#words.take('l4proto') && this.#layer4();
  }

  #mark(): boolean {
    if (this.#words.take('&')) {
      const [mask, operator, value] = [this.#words.next(), this.#words.next(), this.#words.next()];
      if (!HEX.test(mask) || (operator !== '==' && operator !== '!=')) return false;
      if (value !== '0' && !HEX.test(value)) return false;
      this.#out.push(
        LOAD_MARK,
        { kind: 'bitwise', mask: u32(Number(mask)), xor: u32(0) },
        { kind: 'compare', negated: operator === '!=', value: u32(Number(value)) },
      );
      return true;
    }
    if (!this.#words.take('set', 'mark')) return false;
    const [operator, operand] = [this.#words.next(), this.#words.next()];
    const xor = operator === '&' && this.#words.take('^') ? this.#words.next() : '0x0';
    if (!HEX.test(operand) || !HEX.test(xor) || !this.#isAtEnd) return false;
    const bits = Number(operand);
    if (operator === 'or') this.#out.push(LOAD_MARK, { kind: 'bitwise', mask: u32(~bits), xor: u32(bits) });
    else if (operator === '&') this.#out.push(LOAD_MARK, { kind: 'bitwise', mask: u32(bits), xor: u32(Number(xor)) });
    else return false;
    this.#out.push(SET_MARK);
    return true;
  }

  #interface(which: 'iifname' | 'oifname'): boolean {
    const word = this.#words.next();
    this.#out.push(LOAD_INTERFACE[which]);
    if (word === 'vmap') {
      const map = this.#words.next();
      this.#out.push({ kind: 'verdict-map', map: map.slice(1) });
      return map.length > 1 && map.startsWith('@') && this.#isAtEnd;
    }
    const isQuoted = word.length > 2 && word.startsWith('"') && word.endsWith('"');
    const name = isQuoted ? word.slice(1, -1) : word;
    const isPrefix = name.endsWith('*');
    const bytes = Buffer.from(isPrefix ? name.slice(0, -1) : name);
    if (bytes.length === 0 || bytes.length >= INTERFACE_NAME_LENGTH || /[\\"]/.test(name)) return false;
    const value = isPrefix ? bytes : Buffer.concat([bytes], INTERFACE_NAME_LENGTH);
    this.#out.push({ kind: 'compare', negated: false, value });
    return true;
  }

  #address(word: 'ip' | 'ip6'): boolean {
    const layout = LAYOUT[this.#family];
    const side = this.#words.next();
    if (this.#family === 'arp' || word !== layout.word || (side !== 'saddr' && side !== 'daddr')) return false;
    const place = layout[side];
    if (this.#words.take('.', 'meta', 'l4proto', '.', 'th')) return this.#portSet(place);
    const negated = this.#words.take('!=');
    const operand = this.#words.next();
    if (!operand.startsWith('@')) return this.#network(operand, place, negated);
    this.#out.push(place.load);
    return this.#lookup(operand, negated);
  }

  #lookup(operand: string, negated: boolean): boolean {
    if (!operand.startsWith('@') || !isSetName(operand.slice(1))) return false;
    this.#out.push({ kind: 'lookup', set: operand.slice(1), negated });
    return true;
  }

  #network(net: string, place: AddressPlace, negated: boolean): boolean {
    const { length: full, load } = place;
    const cidr = parseCidr(net.includes('/') ? net : `${net}/${full * 8}`);
    if (cidr === null || (cidr.family === 4) !== (full === 4) || cidr.length === 0) return false;
    const bytes = addressBytes(cidr.family, cidr.value);
    if (cidr.length % 8 === 0) {
      // Whole bytes: only they are loaded.
      const length = cidr.length / 8;
      this.#out.push(length === full ? load : payload({ ...place, length }));
      this.#out.push({ kind: 'compare', negated, value: bytes.subarray(0, length) });
      return true;
    }
    const ones = (1n << BigInt(full * 8)) - (1n << BigInt(full * 8 - cidr.length));
    this.#out.push(
      load,
      { kind: 'bitwise', mask: addressBytes(cidr.family, ones), xor: Buffer.alloc(full) },
      { kind: 'compare', negated, value: bytes },
    );
    return true;
  }

  #loadPort(side: string, register: number): boolean {
    if (side !== 'sport' && side !== 'dport') return false;
    this.#out.push(register === FIRST_REGISTER ? LOAD_PORT[side] : { ...payload(PORTS[side]), register });
    return true;
  }

  #ports(protocol: number): boolean {
    const side = this.#words.next();
    const negated = this.#words.take('!=');
    const isList = this.#words.take('{');
    const port = this.#words.next();
    if (!DECIMAL.test(port) || (isList && !this.#words.take('}'))) return false;
    // Two ports of one rule are merged by nft into one load.
    if (this.#words.hasAhead('sport') || this.#words.hasAhead('dport')) return false;
    this.#require(protocol);
    if (!this.#loadPort(side, FIRST_REGISTER)) return false;
    this.#out.push({ kind: 'compare', negated, value: u16(Number(port)) });
    return true;
  }

  #portSet({ load, length }: AddressPlace): boolean {
    const side = this.#words.next();
    const negated = this.#words.take('!=');
    const words = length / 4;
    this.#out.push(load, { kind: 'meta', key: META.protocol, register: wordRegister(words) });
    return this.#loadPort(side, wordRegister(words + 1)) && this.#lookup(this.#words.next(), negated);
  }

  #conntrack(): boolean {
    const field = this.#words.next();
    if (field === 'status') {
      const negated = this.#words.take('!');
      this.#bits(CT.status, CT_STATUS_DNAT, !negated);
      return this.#words.next() === 'dnat';
    }
    const states = this.#words.next();
    if (field !== 'state' || !STATE_NAMES.test(states)) return false;
    let bits = 0;
    for (const state of states.split(',')) {
      const bit = CT_STATES[state];
      if (bit === undefined) return false;
      bits |= bit;
    }
    this.#bits(CT.state, bits, true);
    return true;
  }

  #bits(key: number, bits: number, anySet: boolean): void {
    this.#out.push(
      { kind: 'ct', key },
      { kind: 'bitwise', mask: u32(bits), xor: u32(0) },
      { kind: 'compare', negated: anySet, value: u32(0) },
    );
  }

  #layer4(): boolean {
    const negated = this.#words.take('!=');
    const name = this.#words.next();
    const number = DECIMAL.test(name) ? Number(name) : PROTOCOLS[name];
    if (number === undefined || number > 255) return false;
    if (negated) this.#out.push(protocolTest(number, true));
    else this.#require(number);
    return true;
  }

  #require(protocol: number): void {
    if (this.#protocol === protocol) return;
    this.#protocol = protocol;
    this.#out.push(protocolTest(protocol, false));
  }

  #fib(): boolean {
    if (this.#words.take('saddr', '.', 'mark', '.', 'iif', 'oif', '0')) {
      this.#out.push(
        { kind: 'fib', result: FIB.resultOif, flags: FIB.saddr | FIB.mark | FIB.iif },
        { kind: 'compare', negated: false, value: u32(0) },
      );
      return true;
    }
    const side = this.#words.next();
    const withOif = this.#words.take('.', 'oif');
    if ((side !== 'saddr' && side !== 'daddr') || !this.#words.take('type')) return false;
    const negated = this.#words.take('!=');
    const type = ADDRESS_TYPES[this.#words.next()];
    if (type === undefined) return false;
    const flags = (side === 'saddr' ? FIB.saddr : FIB.daddr) | (withOif ? FIB.oif : 0);
    this.#out.push({ kind: 'fib', result: FIB.resultType, flags }, { kind: 'compare', negated, value: u32(type) });
    return true;
  }

  #icmp(): boolean {
    if (!this.#words.take('type')) return false;
    const negated = this.#words.take('!=');
    const name = this.#words.next();
    const type = DECIMAL.test(name) ? Number(name) : ICMP_TYPES[name];
    if (type === undefined || type > 255) return false;
    this.#require(PROTOCOLS['icmpv6'] ?? 0);
    this.#out.push(payload({ base: HEADER.transport, offset: 0, length: 1 }), {
      kind: 'compare',
      negated,
      value: Buffer.from([type]),
    });
    return true;
  }

  #arpReply(): boolean {
    if (!this.#words.take('operation', 'reply', 'arp', 'saddr', 'ip')) return false;
    const address = parseAddress(this.#words.next());
    if (address === null || address.family !== 4 || this.#family !== 'arp') return false;
    this.#out.push(ARP_REPLY, LAYOUT.arp.saddr.load);
    this.#out.push({ kind: 'compare', negated: false, value: addressBytes(4, address.value) });
    return true;
  }
}
