// Turns the text of a rule, as render.ts prints it, into nf_tables expressions. Knows the forms that occur on every node;
// anything else gives null, and libnftables is asked to do it.
import { parseAddress, parseCidr } from '../../base/ip.js';
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
import type { NftFamily } from './io.js';

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
const ARP_OPERATION = { request: 1, reply: 2 } as const;

/** Where things stand in the headers of a family. */
const LAYOUT = {
  ip: { word: 'ip', source: 12, dest: 16, length: 4 },
  ip6: { word: 'ip6', source: 8, dest: 24, length: 16 },
  arp: { word: 'arp', source: 14, dest: 24, length: 4 },
} as const;

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function toBytes(family: 4 | 6, value: number | bigint): Buffer {
  return Buffer.from(
    BigInt(value)
      .toString(16)
      .padStart(family === 4 ? 8 : 32, '0'),
    'hex',
  );
}

/** Reads the words of one rule; a step that does not apply takes nothing. */
class RuleCompiler {
  readonly #family: NftFamily;
  readonly #out: Expression[] = [];
  /** The l4proto that an earlier expression made sure of: nft does not test it twice. */
  #protocol: number | null = null;
  #rest: string;

  constructor(family: NftFamily, text: string) {
    this.#family = family;
    this.#rest = text;
  }

  compile(): Expression[] | null {
    while (this.#rest !== '') {
      if (!this.#step()) return null;
    }
    return this.#out;
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    const match = pattern.exec(this.#rest);
    if (match !== null) this.#rest = this.#rest.slice(match[0].length);
    return match;
  }

  /** Takes one step; the first letter leaves few forms that can follow. */
  #step(): boolean {
    switch (this.#rest.charAt(0)) {
      case 'a':
        return this.#verdict() || this.#arpReply();
      case 'c':
        return this.#counter() || this.#conntrack() || this.#verdict();
      case 'd':
      case 'g':
      case 'j':
      case 'r':
        return this.#verdict();
      case 'f':
        return this.#fib();
      case 'i':
        return this.#interface() || this.#address() || this.#portSet() || this.#icmp();
      case 'm':
        return this.#mark() || this.#layer4() || this.#masquerade();
      case 'n':
        return this.#notrack();
      case 'o':
        return this.#interface();
      default:
        return this.#ports();
    }
  }

  #counter(): boolean {
    if (this.#take(/^counter(?: |$)/) === null) return false;
    this.#out.push({ kind: 'counter' });
    return true;
  }

  #verdict(): boolean {
    const plain = this.#take(/^(accept|drop|return|continue)$/)?.[1];
    if (plain !== undefined) {
      this.#out.push({ kind: 'verdict', code: VERDICT_CODE[plain as 'accept'] });
      return true;
    }
    const [, verb, chain] = this.#take(/^(jump|goto) ([^ "{}]+)$/) ?? [];
    if (verb === undefined || chain === undefined) return false;
    this.#out.push({ kind: 'verdict', code: VERDICT_CODE[verb as 'jump'], chain });
    return true;
  }

  #mark(): boolean {
    if (!this.#rest.startsWith('meta mark ')) return false;
    const load: Expression = { kind: 'meta', key: META.mark, register: FIRST_REGISTER };
    const test = this.#take(/^meta mark & (0x[0-9a-f]+) (==|!=) (0x[0-9a-f]+|0)(?: |$)/);
    if (test !== null) {
      this.#out.push(
        load,
        { kind: 'bitwise', mask: u32(Number(test[1])), xor: u32(0) },
        { kind: 'compare', negated: test[2] === '!=', value: u32(Number(test[3])) },
      );
      return true;
    }
    const set = this.#take(/^meta mark set mark or (0x[0-9a-f]+)$/);
    if (set !== null) {
      const bits = Number(set[1]);
      this.#out.push(load, { kind: 'bitwise', mask: u32(~bits), xor: u32(bits) }, { kind: 'set-mark' });
      return true;
    }
    const masked = this.#take(/^meta mark set mark & (0x[0-9a-f]+)(?: \^ (0x[0-9a-f]+))?$/);
    if (masked === null) return false;
    const xor = u32(Number(masked[2] ?? 0));
    this.#out.push(load, { kind: 'bitwise', mask: u32(Number(masked[1])), xor }, { kind: 'set-mark' });
    return true;
  }

  #interface(): boolean {
    if (!this.#rest.startsWith('ifname', 1)) return false;
    const map = this.#take(/^(iifname|oifname) vmap @(\S+)$/);
    if (map !== null) {
      this.#loadInterface(map[1]);
      this.#out.push({ kind: 'verdict-map', map: map[2] ?? '' });
      return true;
    }
    const [, which, quoted, bare = ''] = this.#take(/^(iifname|oifname) (?:"([^" ]+)"|([^" ]+))(?: |$)/) ?? [];
    if (which === undefined) return false;
    const name = quoted ?? bare;
    const isPrefix = name.endsWith('*');
    const bytes = Buffer.from(isPrefix ? name.slice(0, -1) : name);
    if (bytes.length === 0 || bytes.length >= INTERFACE_NAME_LENGTH || name.includes('\\')) return false;
    const value = isPrefix ? bytes : Buffer.concat([bytes, Buffer.alloc(INTERFACE_NAME_LENGTH - bytes.length)]);
    this.#loadInterface(which);
    this.#out.push({ kind: 'compare', negated: false, value });
    return true;
  }

  #loadInterface(which: string | undefined): void {
    const key = which === 'iifname' ? META.iifname : META.oifname;
    this.#out.push({ kind: 'meta', key, register: FIRST_REGISTER });
  }

  #address(): boolean {
    if (!this.#rest.startsWith('ip')) return false;
    const layout = LAYOUT[this.#family];
    const pattern = /^(ip6?) (saddr|daddr) (!= )?(?:@([^ {}"]+)|([0-9a-f.:]+(?:\/\d+)?))(?: |$)/;
    const [whole, word, side, not, set, net = ''] = pattern.exec(this.#rest) ?? [];
    if (whole === undefined || this.#family === 'arp' || word !== layout.word) return false;
    const offset = side === 'saddr' ? layout.source : layout.dest;
    const negated = not !== undefined;
    if (set !== undefined) {
      this.#loadNetwork(offset, layout.length);
      this.#out.push({ kind: 'lookup', set, negated });
    } else if (!this.#network(net, offset, negated)) return false;
    this.#rest = this.#rest.slice(whole.length);
    return true;
  }

  #network(net: string, offset: number, negated: boolean): boolean {
    const { length: full } = LAYOUT[this.#family];
    const cidr = parseCidr(net.includes('/') ? net : `${net}/${full * 8}`);
    if (cidr === null || (cidr.family === 4) !== (full === 4) || cidr.length === 0) return false;
    const bytes = toBytes(cidr.family, cidr.value);
    if (cidr.length % 8 === 0) {
      // Whole bytes: only they are loaded.
      this.#loadNetwork(offset, cidr.length / 8);
      this.#out.push({ kind: 'compare', negated, value: bytes.subarray(0, cidr.length / 8) });
      return true;
    }
    const ones = (1n << BigInt(full * 8)) - (1n << BigInt(full * 8 - cidr.length));
    this.#loadNetwork(offset, full);
    this.#out.push(
      { kind: 'bitwise', mask: toBytes(cidr.family, ones), xor: Buffer.alloc(full) },
      { kind: 'compare', negated, value: bytes },
    );
    return true;
  }

  #loadNetwork(offset: number, length: number, register = FIRST_REGISTER): void {
    this.#out.push({ kind: 'payload', base: HEADER.network, offset, length, register });
  }

  #ports(): boolean {
    const pattern = /^(tcp|udp|sctp) (sport|dport) (!= )?(?:(\d+)|\{ (\d+) \})(?: |$)/;
    const [whole, protocol = '', side, not, plain, single] = pattern.exec(this.#rest) ?? [];
    // Two ports of one rule are merged by nft into one load.
    if (whole === undefined || / (?:sport|dport) /.test(this.#rest.slice(whole.length))) return false;
    this.#rest = this.#rest.slice(whole.length);
    this.#require(PROTOCOLS[protocol] ?? 0);
    this.#out.push(
      {
        kind: 'payload',
        base: HEADER.transport,
        offset: side === 'sport' ? 0 : 2,
        length: 2,
        register: FIRST_REGISTER,
      },
      { kind: 'compare', negated: not !== undefined, value: u16(Number(plain ?? single)) },
    );
    return true;
  }

  #portSet(): boolean {
    const layout = LAYOUT[this.#family];
    const pattern = /^(ip6?) (saddr|daddr) \. meta l4proto \. th (sport|dport) (!= )?@([^ {}"]+)(?: |$)/;
    const [whole, word, side, port, not, set = ''] = pattern.exec(this.#rest) ?? [];
    if (whole === undefined || word !== layout.word) return false;
    this.#rest = this.#rest.slice(whole.length);
    const words = layout.length / 4;
    this.#loadNetwork(side === 'saddr' ? layout.source : layout.dest, layout.length);
    this.#out.push(
      { kind: 'meta', key: META.protocol, register: wordRegister(words) },
      {
        kind: 'payload',
        base: HEADER.transport,
        offset: port === 'sport' ? 0 : 2,
        length: 2,
        register: wordRegister(words + 1),
      },
      { kind: 'lookup', set, negated: not !== undefined },
    );
    return true;
  }

  #conntrack(): boolean {
    const states = this.#take(/^ct state ([a-z,]+)(?: |$)/)?.[1];
    if (states !== undefined) {
      let bits = 0;
      for (const state of states.split(',')) bits |= CT_STATES[state] ?? Number.NaN;
      if (bits === 0 || states.split(',').some((state) => CT_STATES[state] === undefined)) return false;
      this.#bits(CT.state, bits, true);
      return true;
    }
    const status = this.#take(/^ct status (! )?dnat(?: |$)/);
    if (status === null) return false;
    this.#bits(CT.status, CT_STATUS_DNAT, status[1] === undefined);
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
    const pattern = /^meta l4proto (!= )?([a-z0-9-]+)(?: |$)/;
    const [whole, not, name = ''] = pattern.exec(this.#rest) ?? [];
    const number = /^\d+$/.test(name) ? Number(name) : PROTOCOLS[name];
    if (whole === undefined || number === undefined || number > 255) return false;
    this.#rest = this.#rest.slice(whole.length);
    if (not === undefined) {
      this.#require(number);
      return true;
    }
    this.#testProtocol(number, true);
    return true;
  }

  #require(protocol: number): void {
    if (this.#protocol === protocol) return;
    this.#protocol = protocol;
    this.#testProtocol(protocol, false);
  }

  #testProtocol(protocol: number, negated: boolean): void {
    this.#out.push(
      { kind: 'meta', key: META.protocol, register: FIRST_REGISTER },
      { kind: 'compare', negated, value: Buffer.from([protocol]) },
    );
  }

  #fib(): boolean {
    if (this.#take(/^fib saddr \. mark \. iif oif 0(?: |$)/) !== null) {
      this.#out.push(
        { kind: 'fib', result: FIB.resultOif, flags: FIB.saddr | FIB.mark | FIB.iif },
        { kind: 'compare', negated: false, value: u32(0) },
      );
      return true;
    }
    const pattern = /^fib (saddr|daddr) (\. oif )?type (!= )?([a-z]+)(?: |$)/;
    const [whole, side, oif, not, name = ''] = pattern.exec(this.#rest) ?? [];
    const type = ADDRESS_TYPES[name];
    if (whole === undefined || type === undefined) return false;
    this.#rest = this.#rest.slice(whole.length);
    const flags = (side === 'saddr' ? FIB.saddr : FIB.daddr) | (oif === undefined ? 0 : FIB.oif);
    this.#out.push(
      { kind: 'fib', result: FIB.resultType, flags },
      { kind: 'compare', negated: not !== undefined, value: u32(type) },
    );
    return true;
  }

  #notrack(): boolean {
    if (this.#take(/^notrack$/) === null) return false;
    this.#out.push({ kind: 'notrack' });
    return true;
  }

  #masquerade(): boolean {
    const masquerade = this.#take(/^masquerade( fully-random)?$/);
    if (masquerade === null) return false;
    this.#out.push({ kind: 'masquerade', flags: masquerade[1] === undefined ? 0 : FULLY_RANDOM });
    return true;
  }

  #icmp(): boolean {
    const pattern = /^icmpv6 type (!= )?([a-z0-9-]+)(?: |$)/;
    const [whole, not, name = ''] = pattern.exec(this.#rest) ?? [];
    const type = /^\d+$/.test(name) ? Number(name) : ICMP_TYPES[name];
    if (whole === undefined || type === undefined || type > 255) return false;
    this.#rest = this.#rest.slice(whole.length);
    this.#require(PROTOCOLS['icmpv6'] ?? 0);
    this.#out.push(
      { kind: 'payload', base: HEADER.transport, offset: 0, length: 1, register: FIRST_REGISTER },
      { kind: 'compare', negated: not !== undefined, value: Buffer.from([type]) },
    );
    return true;
  }

  #arpReply(): boolean {
    const [, text = ''] = this.#take(/^arp operation reply arp saddr ip ([0-9.]+)(?: |$)/) ?? [];
    const address = parseAddress(text);
    if (address === null || address.family !== 4 || this.#family !== 'arp') return false;
    this.#loadNetwork(6, 2);
    this.#out.push({ kind: 'compare', negated: false, value: u16(ARP_OPERATION.reply) });
    this.#loadNetwork(LAYOUT.arp.source, LAYOUT.arp.length);
    this.#out.push({ kind: 'compare', negated: false, value: toBytes(4, address.value) });
    return true;
  }
}

/** The expressions of a rule's text (without its comment), or null when it has a form that is left to libnftables. */
export function compileRule(family: NftFamily, text: string): Expression[] | null {
  return new RuleCompiler(family, text).compile();
}
