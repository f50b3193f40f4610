// Prefixes of NFLOG messages, from which the flow log collector finds rule and policy again (dataplane.md 3.10).
import type { Action } from '../model/action.js';
import { shortenedName } from '../model/names.js';
import type { Direction } from './renderer.js';

/** Longest prefix without the terminating zero. */
const MAX_PREFIX_LENGTH = 64 - 1;
/** How much of a prefix that is too long stays readable at either end. */
const READABLE_LENGTH = 10;
/** The hash in the middle with its leading `_`. */
const HASH_LENGTH = MAX_PREFIX_LENGTH - 2 * READABLE_LENGTH - 1;

/** What a rule does with the packet: allow, deny, pass. */
export type NflogVerdict = 'A' | 'D' | 'P';

/** NFLOG action of a direction: group 1 for ingress, 2 for egress. */
export function nflogAction(direction: Direction, prefix: string): Action {
  return { kind: 'nflog', group: direction === 'ingress' ? 1 : 2, prefix };
}

/** Prefix of a rule's message. `index` is the position in the list of the message, counted from 0. */
export function ruleNflogPrefix(
  verdict: NflogVerdict,
  owner: 'policy' | 'profile',
  direction: Direction,
  index: number,
  id: string,
): string {
  return shorten(`${verdict}${owner === 'policy' ? 'P' : 'R'}${directionLetter(direction)}${index}|${id}`);
}

/** Prefix at the end of a tier, which drops or passes what no policy matched. */
export function tierNflogPrefix(verdict: 'D' | 'P', direction: Direction, tier: string): string {
  return shorten(`${verdict}P${directionLetter(direction)}|${tier}`);
}

/** Prefix for packets that no profile matched. */
export function profileNflogPrefix(direction: Direction): string {
  return `DR${directionLetter(direction)}`;
}

function directionLetter(direction: Direction): string {
  return direction === 'ingress' ? 'I' : 'E';
}

/** iptables gets the prefix without quotes. Calico lets no names with such characters through. */
const UNSAFE = /[\s"'\\\p{Cc}]/gu;

function shorten(text: string): string {
  const prefix = text.replace(UNSAFE, '_');
  if (prefix.length < MAX_PREFIX_LENGTH) return prefix;
  const hash = shortenedName('', prefix, HASH_LENGTH);
  return `${prefix.slice(0, READABLE_LENGTH)}${hash}_${prefix.slice(-READABLE_LENGTH)}`;
}
