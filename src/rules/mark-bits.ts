// Shares the bits of the configured mark mask out among their uses, lowest bit first (dataplane.md 3.1).
import { ConfigError } from '../base/errors.js';
import type { DataplaneConfig } from '../model/config.js';
import type { Backend } from '../model/family.js';

/** Packet mark bits; each a mask. */
export interface MarkBits {
  /** Verdict "accepted"; also carries raw and mangle acceptance to later tables. */
  readonly accept: number;
  /** Policy said pass or next-tier. */
  readonly pass: number;
  /** Set by deny rules before their drop. */
  readonly drop: number;
  /** All match blocks pass; from workload (raw); within packet rate. */
  readonly scratch0: number;
  /** This match block passes. */
  readonly scratch1: number;
  /** 0 without Wireguard; else also the device's fwmark. */
  readonly wireguard: number;
  /** The rest: field of endpoint ids in IPVS mode. May be 0. */
  readonly endpoint: number;
  /** Lowest endpoint bit: id of everything that is no Calico endpoint. */
  readonly nonCaliEndpoint: number;
}

/** Bits that must be there for any policy to work. */
const NEEDED_BITS = 5;

/**
 * The allocation of one back end. Throws ConfigError if the mask has too few bits; nothing can be enforced then. That
 * is so in IPVS mode without an endpoint bit too: what comes out of IPVS would pass by the policy of its endpoint.
 */
export function allocateMarkBits(config: DataplaneConfig, backend: Backend, ipvs = false): MarkBits {
  const mask = config.markMask[backend] >>> 0;
  const wireguard = config.wireguardEnabled || config.wireguardEnabledV6;
  const bits = bitsOf(mask);
  const taken = NEEDED_BITS + (wireguard ? 1 : 0);
  const needed = taken + (ipvs ? 1 : 0);
  if (bits.length < needed) {
    const key = backend === 'iptables' ? 'IptablesMarkMask' : 'NftablesMarkMask';
    const raw = `0x${mask.toString(16)}`;
    throw new ConfigError(
      `${key} ${raw} has ${bits.length} bits, but ${needed} are needed; widen it`,
      key,
      raw,
      'merged',
    );
  }
  const at = (index: number): number => bits[index] ?? 0;
  const rest = bits.slice(taken);
  return {
    accept: at(0),
    pass: at(1),
    drop: at(2),
    scratch0: at(3),
    scratch1: at(4),
    wireguard: wireguard ? at(NEEDED_BITS) : 0,
    endpoint: rest.reduce((sum, bit) => (sum | bit) >>> 0, 0),
    nonCaliEndpoint: rest[0] ?? 0,
  };
}

/** The single-bit masks of a mask, lowest first. */
export function bitsOf(mask: number): number[] {
  const bits: number[] = [];
  for (let index = 0; index < 32; index++) {
    const bit = (1 << index) >>> 0;
    if ((mask & bit) !== 0) bits.push(bit);
  }
  return bits;
}

/** The bits that are cleared before policy runs. Neither drop nor endpoint bits (3.1). */
export function allPolicyBits(marks: MarkBits): number {
  return (marks.accept | marks.pass | marks.scratch0 | marks.scratch1) >>> 0;
}
