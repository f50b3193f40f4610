// The members of one nft set, from the text of messages to the elements of the kernel (dataplane.md 4.7, 4.8).
import { canonicalAddress, formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../base/ip.js';
import type { Family } from '../model/family.js';
import type { IpSetType } from '../model/ip-set.js';
import { type ElementSink, IntervalMembers } from './interval-members.js';

/** What became of a member: `other-family` members are skipped, `invalid` ones were not taken in. */
export type MemberOutcome = 'taken' | 'other-family' | 'invalid';

/** Wanted members of one set, and the elements that the kernel must hold for them. */
export interface SetMembers {
  /** Number of wanted members. */
  readonly size: number;
  add(member: string, sink: ElementSink): MemberOutcome;
  remove(member: string, sink: ElementSink): MemberOutcome;
  /** Whether a member, as {@link members} yields them, is wanted. */
  has(member: string): boolean;
  members(): Iterable<string>;
  elements(): Iterable<string>;
}

const PROTOCOLS: ReadonlySet<string> = new Set(['tcp', 'udp', 'sctp']);
const MAX_PORT = 65_535;

/** Family by the look of the address part, as Felix tells members apart. */
function familyOf(member: string): Family {
  const comma = member.indexOf(',');
  return (comma < 0 ? member : member.slice(0, comma)).includes(':') ? 6 : 4;
}

/** `10.0.0.1` or `10.0.0.1/32` as nft prints it, or null. */
function addressElement(member: string, family: Family): string | null {
  const suffix = family === 4 ? '/32' : '/128';
  const text = member.endsWith(suffix) ? member.slice(0, -suffix.length) : member;
  if (family === 4) {
    const value = parseIpv4(text);
    return value === null ? null : formatIpv4(value);
  }
  const value = parseIpv6(text);
  return value === null ? null : formatIpv6(value);
}

/** `10.0.0.1,tcp:80` as the element `10.0.0.1 . tcp . 80`, or null. */
function portElement(member: string): string | null {
  const comma = member.indexOf(',');
  const colon = member.indexOf(':', comma);
  if (comma < 0 || colon < 0) return null;
  const address = canonicalAddress(member.slice(0, comma));
  const protocol = member.slice(comma + 1, colon).toLowerCase();
  const port = member.slice(colon + 1);
  if (address === null || !PROTOCOLS.has(protocol) || !/^[0-9]{1,5}$/u.test(port) || Number(port) > MAX_PORT)
    return null;
  return `${address} . ${protocol} . ${Number(port)}`;
}

/** Members that never overlap: each is one element. */
class ExactMembers implements SetMembers {
  readonly #family: Family;
  readonly #toElement: (member: string) => string | null;
  readonly #elements = new Set<string>();

  constructor(family: Family, type: 'hash:ip' | 'hash:ip,port') {
    this.#family = family;
    this.#toElement = type === 'hash:ip' ? (member) => addressElement(member, family) : portElement;
  }

  get size(): number {
    return this.#elements.size;
  }

  add(member: string, sink: ElementSink): MemberOutcome {
    if (familyOf(member) !== this.#family) return 'other-family';
    const element = this.#toElement(member);
    if (element === null) return 'invalid';
    if (!this.#elements.has(element)) {
      this.#elements.add(element);
      sink.add(element);
    }
    return 'taken';
  }

  remove(member: string, sink: ElementSink): MemberOutcome {
    if (familyOf(member) !== this.#family) return 'other-family';
    const element = this.#toElement(member);
    if (element === null) return 'invalid';
    if (this.#elements.delete(element)) sink.remove(element);
    return 'taken';
  }

  has(member: string): boolean {
    return this.#elements.has(this.#toElement(member) ?? '');
  }

  *members(): Iterable<string> {
    for (const element of this.#elements) yield memberOf(element);
  }

  elements(): Iterable<string> {
    return this.#elements;
  }
}

/** The member text of an element of an {@link ExactMembers}. */
function memberOf(element: string): string {
  const [address, protocol, port] = element.split(' . ');
  return protocol === undefined ? element : `${address},${protocol}:${port}`;
}

/** Members of a prefix set. */
class PrefixMembers implements SetMembers {
  readonly #family: Family;
  readonly #trie: IntervalMembers;

  constructor(family: Family) {
    this.#family = family;
    this.#trie = new IntervalMembers(family);
  }

  get size(): number {
    return this.#trie.size;
  }

  add(member: string, sink: ElementSink): MemberOutcome {
    if (familyOf(member) !== this.#family) return 'other-family';
    return this.#trie.add(member, sink) ? 'taken' : 'invalid';
  }

  remove(member: string, sink: ElementSink): MemberOutcome {
    if (familyOf(member) !== this.#family) return 'other-family';
    return this.#trie.remove(member, sink) ? 'taken' : 'invalid';
  }

  has(member: string): boolean {
    return this.#trie.has(member);
  }

  members(): Iterable<string> {
    return this.#trie.members();
  }

  elements(): Iterable<string> {
    return this.#trie.elements();
  }
}

/** Empty members of a set of this type. */
export function createSetMembers(family: Family, type: IpSetType): SetMembers {
  return type === 'hash:net' ? new PrefixMembers(family) : new ExactMembers(family, type);
}

/**
 * The form in which {@link SetMembers.elements} would give an element that nft printed (`::1.2.3.4` is `::102:304`);
 * texts that are no element of ours come back as they are.
 */
export function canonicalElement(text: string): string {
  const end = text.search(/[ /]/u);
  if (end < 0) return canonicalAddress(text) ?? text;
  const address = canonicalAddress(text.slice(0, end));
  return address === null ? text : `${address}${text.slice(end)}`;
}
