// What `ipset list NAME` prints, read. The seam between the plane and the ways of reaching the kernel is here too.
import { DataplaneError } from '../base/errors.js';
import type { Family } from '../model/family.js';

/** A set as the kernel has it. */
export interface KernelIpSet {
  /** e.g. `hash:net`; types that we do not make are possible. */
  readonly type: string;
  /** null for types without a family. */
  readonly family: Family | null;
  readonly maxElem: number | null;
  /** Options that we never set and that change what a member means or how long it lives, e.g. `timeout`. */
  readonly foreignOptions: readonly string[];
  /** Members as printed. Read lazily: a set of a million is cut up piece by piece. */
  readonly members: Iterable<string>;
  /** What {@link IpSetIo.digest} says as long as the set is the same; null if that costs no less than a listing. */
  readonly digest: string | null;
}

/** How the kernel's sets are read and written; spawned, co-process and native forms behave alike. */
export interface IpSetIo {
  /** Names of all sets in the kernel, foreign ones too. Rejects with ToolError. */
  listNames(): Promise<readonly string[]>;
  /** One set, or null if there is none of that name. Rejects with ToolError, also when the text cannot be read. */
  list(name: string): Promise<KernelIpSet | null>;
  /** Of all that the kernel says of a set; null if there is none of that name, or if `list` says none. Rejects with ToolError. */
  digest(name: string): Promise<string | null>;
  /**
   * Carries out `ipset restore` lines in order, with `-exist`: what is there already, or gone already, is no error.
   * Rejects with ToolError: `failure.inputLine` is the line that was refused, lines behind it are not done, and lines
   * before it may be; without `inputLine` nothing may be assumed.
   */
  restore(script: string): Promise<void>;
}

/** Options in a header that describe size and hashing only, each with a value. */
const HARMLESS_OPTIONS = new Set(['hashsize', 'bucketsize', 'initval']);
/** Foreign options without a value. */
const FLAGS = new Set(['counters', 'comment', 'skbinfo', 'forceadd']);

const MEMBERS_LINE = '\nMembers:\n';

interface Header {
  family: Family | null;
  maxElem: number | null;
  foreignOptions: string[];
}

function parseHeader(text: string): Header {
  const header: Header = { family: null, maxElem: null, foreignOptions: [] };
  const words = text.split(' ').filter((word) => word !== '');
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (FLAGS.has(word)) {
      header.foreignOptions.push(word);
      continue;
    }
    const value = words[++at];
    if (word === 'family') header.family = value === 'inet6' ? 6 : 4;
    else if (word === 'maxelem') header.maxElem = Number(value);
    else if (!HARMLESS_OPTIONS.has(word)) header.foreignOptions.push(word);
  }
  return header;
}

function* lines(text: string, from: number): Generator<string> {
  let at = from;
  while (at < text.length) {
    const end = text.indexOf('\n', at);
    const stop = end < 0 ? text.length : end;
    if (stop > at) yield text.slice(at, stop);
    at = stop + 1;
  }
}

/** Reads the output of `ipset list NAME` for exactly that set. Throws a DataplaneError if it is something else. */
export function parseKernelIpSet(name: string, text: string): KernelIpSet {
  const membersAt = text.indexOf(MEMBERS_LINE);
  const head = new Map<string, string>();
  for (const line of text.slice(0, Math.max(0, membersAt)).split('\n')) {
    const colon = line.indexOf(': ');
    if (colon > 0) head.set(line.slice(0, colon), line.slice(colon + 2));
  }
  const type = head.get('Type');
  const header = head.get('Header');
  if (membersAt < 0 || head.get('Name') !== name || type === undefined || header === undefined) {
    throw new DataplaneError('tool', `The listing of IP set ${name} cannot be read: ${text.slice(0, 200)}`);
  }
  const from = membersAt + MEMBERS_LINE.length;
  return { type, ...parseHeader(header), digest: null, members: { [Symbol.iterator]: () => lines(text, from) } };
}
