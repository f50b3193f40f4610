// What a parameter is, and the parsers of single values: booleans, numbers, durations, choices, addresses, texts.
// Forms are those of Felix (felix/config/param_types.go), so that one text means the same to both.
import { parseAddress, formatIpv4, formatIpv6 } from '../../base/ip.js';

/** Outcome of reading one text. `problem` says what would be right. */
export type Parsed<T> = { readonly value: T } | { readonly problem: string };

/** Reads one text; never throws. */
export type Parser<T> = (raw: string) => Parsed<T>;

/** What happens with a parameter beside its form. */
export interface ParameterFlags {
  /** `none` is refused, and ends the driver. */
  readonly nonZero?: boolean;
  /** An unreadable value ends the driver instead of falling back to the default. */
  readonly dieOnFail?: boolean;
  /** Ignored when it comes from the datastore. */
  readonly local?: boolean;
}

/** One parameter: how it is read, its value when unset, and its value when set to `none`. */
export interface Parameter<T> extends Required<ParameterFlags> {
  readonly parse: Parser<T>;
  readonly defaultValue: T;
  readonly zeroValue: T;
}

/** Makes a parameter; `zeroValue` is what `none` stands for. */
export function parameter<T>(
  parse: Parser<T>,
  defaultValue: T,
  zeroValue: T,
  flags: ParameterFlags = {},
): Parameter<T> {
  const { nonZero = false, dieOnFail = false, local = false } = flags;
  return { parse, defaultValue, zeroValue, nonZero, dieOnFail, local };
}

const TRUE_TEXTS = new Set(['true', '1', 'yes', 'y', 't']);
const FALSE_TEXTS = new Set(['false', '0', 'no', 'n', 'f']);

function parseBool(raw: string): Parsed<boolean> {
  const lower = raw.toLowerCase();
  if (TRUE_TEXTS.has(lower)) return { value: true };
  if (FALSE_TEXTS.has(lower)) return { value: false };
  return { problem: 'not a boolean (true, 1, yes, y, t or false, 0, no, n, f)' };
}

/** Boolean; `none` is false. */
export function bool(defaultValue: boolean): Parameter<boolean> {
  return parameter(parseBool, defaultValue, false);
}

/** Boolean that may be unset; `none` is unset. */
export function optionalBool(): Parameter<boolean | null> {
  return parameter<boolean | null>(parseBool, null, null);
}

/**
 * Reads an integer as Go's strconv.ParseInt with base 0: decimal, 0x, 0o or leading 0, 0b; underscores between digits.
 * Null if it is none or does not fit 64 bits.
 */
export function parseGoInteger(raw: string): bigint | null {
  const match =
    /^([+-]?)(0x_?[0-9a-f]+(?:_[0-9a-f]+)*|0o_?[0-7]+(?:_[0-7]+)*|0b_?[01]+(?:_[01]+)*|0(?:_?[0-7]+)*|[1-9][0-9]*(?:_[0-9]+)*)$/i.exec(
      raw,
    );
  if (match === null) return null;
  const [, sign, digits = ''] = match;
  const plain = digits.replaceAll('_', '').toLowerCase();
  const isOldOctal = /^0[0-7]+$/.test(plain);
  const value = BigInt(isOldOctal ? `0o${plain.slice(1)}` : plain);
  const signed = sign === '-' ? -value : value;
  return signed >= -(2n ** 63n) && signed < 2n ** 63n ? signed : null;
}

/** Integer within `min`..`max`; `none` is 0. */
export function integer(defaultValue: number, min: number, max: number, flags: ParameterFlags = {}): Parameter<number> {
  const parse: Parser<number> = (raw) => {
    const value = parseGoInteger(raw);
    if (value === null) return { problem: 'not an integer' };
    if (value < BigInt(min) || value > BigInt(max)) return { problem: `not within ${min} and ${max}` };
    return { value: Number(value) };
  };
  return parameter(parse, defaultValue, 0, flags);
}

/** Longest delay that a timer can hold. */
const MAX_DELAY_MS = 2 ** 31 - 1;

function parseDuration(raw: string, unitMs: number): Parsed<number> {
  const plain = raw.replaceAll(/(?<=\d)_(?=\d)/g, '');
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(plain)) return { problem: 'not a number' };
  const value = Number(plain) * unitMs;
  if (!Number.isFinite(value)) return { problem: 'not a number that can be held' };
  // Negative durations switch a thing off just as 0 does.
  return { value: Math.min(Math.max(value, 0), MAX_DELAY_MS) };
}

/** Duration given in seconds, fractions allowed → milliseconds; `none` is 0. */
export function seconds(defaultSeconds: number): Parameter<number> {
  return parameter((raw) => parseDuration(raw, 1000), defaultSeconds * 1000, 0);
}

/** Duration given in milliseconds; `none` is 0. */
export function millis(defaultMs: number): Parameter<number> {
  return parameter((raw) => parseDuration(raw, 1), defaultMs, 0);
}

/** One of the texts, in any case → the text as listed; `none` is the zero value given, by default the first text. */
export function oneOf<const T extends string>(
  options: readonly T[],
  defaultValue: NoInfer<T>,
  flags: ParameterFlags & { readonly zero?: NoInfer<T> } = {},
): Parameter<T> {
  const byLowerCase = new Map(options.map((option) => [option.toLowerCase(), option]));
  const parse: Parser<T> = (raw) => {
    const value = byLowerCase.get(raw.toLowerCase());
    return value === undefined ? { problem: `not one of ${options.join(', ')}` } : { value };
  };
  return parameter(parse, defaultValue, flags.zero ?? defaultValue, flags);
}

/** A text that matches a pattern; `none` is the empty text. */
export function matching(
  pattern: RegExp,
  what: string,
  defaultValue: string,
  flags: ParameterFlags = {},
): Parameter<string> {
  const parse: Parser<string> = (raw) => (pattern.test(raw) ? { value: raw } : { problem: `not ${what}` });
  return parameter(parse, defaultValue, '', flags);
}

/** Any text of one line. */
export function text(defaultValue: string, flags: ParameterFlags = {}): Parameter<string> {
  return matching(/^[^\n]*$/, 'a text of one line', defaultValue, flags);
}

/** An address of one family in canonical text; `none` is unset. An IPv4-mapped IPv6 text is IPv4, as in Go. */
export function address(family: 4 | 6): Parameter<string | null> {
  const parse: Parser<string | null> = (raw) => {
    const parsed = parseAddress(raw);
    if (parsed === null) return { problem: 'not an IP address' };
    const isMapped = parsed.family === 6 && parsed.value >> 32n === 0xffffn;
    const actual = isMapped ? 4 : parsed.family;
    if (actual !== family) return { problem: `not an IPv${family} address` };
    if (parsed.family === 4) return { value: formatIpv4(parsed.value) };
    return { value: isMapped ? formatIpv4(Number(parsed.value & 0xffffffffn)) : formatIpv6(parsed.value) };
  };
  return parameter<string | null>(parse, null, null);
}

/** Fewest bits that Felix accepts in a mark mask; rendering needs more and says so itself. */
const MIN_MARK_BITS = 2;

/** 32-bit mask as an unsigned number, decimal or hexadecimal. */
export function markMask(defaultValue: number): Parameter<number> {
  const parse: Parser<number> = (raw) => {
    // Go's ParseUint takes no sign at all.
    const value = /^[+-]/.test(raw) ? null : parseGoInteger(raw);
    if (value === null || value > 0xffffffffn) return { problem: 'not a 32-bit mask' };
    const bits = value.toString(2).replaceAll('0', '').length;
    return bits < MIN_MARK_BITS ? { problem: `fewer than ${MIN_MARK_BITS} bits set` } : { value: Number(value) };
  };
  return parameter(parse, defaultValue, 0, { nonZero: true, dieOnFail: true });
}

/** Named code points (RFC 2474, 2597, 3246); CS7 is not among Felix's names. */
const DSCP_NAMES: Readonly<Record<string, number>> = {
  DF: 0,
  EF: 46,
  ...Object.fromEntries([1, 2, 3, 4].flatMap((c) => [1, 2, 3].map((d) => [`AF${c}${d}`, c * 8 + d * 2]))),
  ...Object.fromEntries([0, 1, 2, 3, 4, 5, 6].map((c) => [`CS${c}`, c * 8])),
};

/** DSCP 0..63 in decimal, or a name such as `AF11`. */
export function dscp(defaultValue: number): Parameter<number> {
  const parse: Parser<number> = (raw) => {
    if (/^\d+$/.test(raw)) {
      return Number(raw) <= 63 ? { value: Number(raw) } : { problem: 'not within 0 and 63' };
    }
    const named = DSCP_NAMES[raw.trim().toUpperCase()];
    return named === undefined ? { problem: 'not a DSCP number or name' } : { value: named };
  };
  return parameter(parse, defaultValue, 0);
}
