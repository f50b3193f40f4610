// The arithmetic of bandwidth limits (dataplane.md 2.10; Felix: `qos.GetTBFValues`, `qos.makeTBF`). Pure.
import { sha512Hex } from '../base/digest.js';
import type { BandwidthLimit } from './interface-settings.js';
import type { TokenBucket } from './link-kernel.js';

/** Ticks of the kernel's packet scheduler in a microsecond (include/net/pkt_sched.h, PSCHED_SHIFT 6). */
const TICKS_PER_MICROSECOND = 15.625;
const LATENCY_SECONDS = 0.025;
const MAX_U32 = 0xffffffff;
const ETHERNET_HEADER_BYTES = 14;

function capped(value: number): number {
  return Math.min(MAX_U32, Math.floor(value));
}

/** Time to send `bytes` at `rate`, in ticks; first whole microseconds, then whole ticks, as the kernel's tools do. */
function ticksFor(bytes: number, rate: number): number {
  return capped(capped((bytes * 1_000_000) / rate) * TICKS_PER_MICROSECOND);
}

/** The filter for a limit on a device of this MTU, or what is wrong with the limit. */
export function tokenBucketFor(limit: BandwidthLimit, mtu: number): TokenBucket | { readonly fault: string } {
  const rate = Number(limit.rate / 8n);
  const burst = Number(limit.burst / 8n);
  if (rate <= 0) return { fault: `bandwidth ${limit.rate} bit/s is less than one byte a second` };
  const bufferTicks = ticksFor(burst, rate);
  if (bufferTicks <= 0) return { fault: `burst ${limit.burst} bits is too small` };
  let maxBytes = capped(rate * LATENCY_SECONDS + bufferTicks);
  const peakRate = Number(limit.peakRate / 8n);
  if (peakRate <= 0) {
    if (limit.minBurst !== 0n) return { fault: `minburst ${limit.minBurst} is set without a peak rate` };
    return { rate, bufferTicks, limit: maxBytes, peakRate: 0, minBurst: 0 };
  }
  // A packet of full size must fit, or none of that size would ever be sent.
  const minBurstBytes = Math.max(Number(limit.minBurst), mtu + ETHERNET_HEADER_BYTES);
  maxBytes = Math.min(maxBytes, capped(peakRate * LATENCY_SECONDS + ticksFor(Number(limit.minBurst), peakRate)));
  return { rate, bufferTicks, limit: maxBytes, peakRate, minBurst: ticksFor(minBurstBytes, peakRate) };
}

/** Rounding between the tools' bytes and the kernel's ticks costs up to one byte, or two microseconds. */
function closeTo(a: number, b: number, rate: number): boolean {
  const ticksPerByte = rate > 0 ? (1_000_000 / rate) * TICKS_PER_MICROSECOND : 0;
  return Math.abs(a - b) <= Math.max(2 * TICKS_PER_MICROSECOND, ticksPerByte);
}

/** Whether two filters are the same, but for what is lost between bytes and ticks. */
export function sameTokenBucket(a: TokenBucket | null, b: TokenBucket | null): boolean {
  if (a === null || b === null) return a === b;
  const samePeak = a.peakRate === null || b.peakRate === null || a.peakRate === b.peakRate;
  return (
    a.rate === b.rate &&
    a.limit === b.limit &&
    samePeak &&
    closeTo(a.bufferTicks, b.bufferTicks, a.rate) &&
    closeTo(a.minBurst, b.minBurst, a.peakRate ?? b.peakRate ?? 0)
  );
}

/** Prefix of the devices through which what pods send is shaped. */
export const IFB_PREFIX = 'bwcali';
const IFB_NAME_LENGTH = 15;

/** `cali1234567890a` → `bwcali800c13c17`. */
export function ifbNameFor(interfaceName: string): string {
  return `${IFB_PREFIX}${sha512Hex(interfaceName)}`.slice(0, IFB_NAME_LENGTH);
}
