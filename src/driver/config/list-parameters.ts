// The parsers of compound values: port lists, port ranges, prefixes, interface lists, patterns, key-value lists and
// route table ranges. Forms are those of Felix (felix/config/param_types.go).
import { canonicalCidr } from '../../base/ip.js';
import type { ProtoPort } from '../../model/config.js';
import { type Parameter, parameter, type ParameterFlags, type Parsed, type Parser } from './parameter.js';

/** Inclusive range of ports. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Inclusive range of route table numbers. */
export interface TableRange {
  readonly min: number;
  readonly max: number;
}

function isProblem<T>(parsed: Parsed<T>): parsed is { readonly problem: string } {
  return 'problem' in parsed;
}

/** Reads every item; the first bad one is the problem of the whole. */
function parseEach<T>(items: readonly string[], parse: Parser<T>): Parsed<T[]> {
  const values: T[] = [];
  for (const item of items) {
    const parsed = parse(item);
    if (isProblem(parsed)) return { problem: `${JSON.stringify(item)}: ${parsed.problem}` };
    values.push(parsed.value);
  }
  return { value: values };
}

/** Items between commas, blanks around them dropped, empty ones left out. */
function splitList(raw: string): string[] {
  return raw
    .split(',')
    .map((item) => item.replace(/^ +| +$/g, ''))
    .filter((item) => item !== '');
}

const PORT_FORM = 'not <protocol>:<net>:<number>, <protocol>:<number> or <number>';

function parseProtoPort(item: string): Parsed<ProtoPort> {
  let rest = item;
  let net = '';
  const bracketed = /^([^[\]]*)\[([^[\]]*)\]:([^[\]]*)$/.exec(item);
  if (bracketed !== null) {
    net = bracketed[2] ?? '';
    rest = `${bracketed[1] ?? ''}${bracketed[3] ?? ''}`;
  } else if (/[[\]]/.test(item)) {
    return { problem: PORT_FORM };
  }
  const parts = rest.split(':');
  const number = parts.at(-1) ?? '';
  if (parts.length > 3 || (parts.length === 3 && net !== '')) return { problem: PORT_FORM };
  if (parts.length === 3) net = parts[1] ?? '';
  const protocol = parts.length === 1 ? 'tcp' : (parts[0] ?? '').toLowerCase();
  if (protocol !== 'tcp' && protocol !== 'udp') return { problem: 'the protocol is not tcp or udp' };
  if (!/^[+-]?\d+$/.test(number)) return { problem: PORT_FORM };
  const port = Number(number);
  if (port < 0 || port > 65535) return { problem: 'the port is not within 0 and 65535' };
  if (net === '') return { value: { protocol, port } };
  const cidr = canonicalCidr(net);
  return cidr === null ? { problem: `${net} is not an address or prefix` } : { value: { protocol, port, net: cidr } };
}

/** Fail-safe ports: `tcp:22, udp:10.0.0.0/8:68, tcp:[fd00::/8]:22, 6443`; `none` is the empty list. */
export function portList(defaultText: string): Parameter<readonly ProtoPort[]> {
  const parse: Parser<readonly ProtoPort[]> = (raw) => parseEach(splitList(raw), parseProtoPort);
  const defaults = parse(defaultText);
  return parameter<readonly ProtoPort[]>(parse, isProblem(defaults) ? [] : defaults.value, [], { dieOnFail: true });
}

function parsePortRange(raw: string): Parsed<PortRange> {
  const match = /^(\d+)(?::(\d+))?$/.exec(raw);
  if (match === null) return { problem: 'not a port or a range such as 1000:2000' };
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (first > 65535 || last > 65535) return { problem: 'a port is above 65535' };
  return first > last ? { problem: 'the range ends before it begins' } : { value: { first, last } };
}

/** One range, or unset (`none`, and 0, which Felix takes for unset). */
export function optionalPortRange(): Parameter<PortRange | null> {
  const parse: Parser<PortRange | null> = (raw) => {
    const parsed = parsePortRange(raw);
    return !isProblem(parsed) && parsed.value.last === 0 ? { value: null } : parsed;
  };
  return parameter<PortRange | null>(parse, null, null);
}

/** Ranges between commas, without blanks; `none` is the empty list. */
export function portRangeList(defaultValue: readonly PortRange[]): Parameter<readonly PortRange[]> {
  return parameter<readonly PortRange[]>((raw) => parseEach(raw.split(','), parsePortRange), defaultValue, []);
}

/** Addresses and prefixes → canonical prefixes (`10.0.0.1` becomes `10.0.0.1/32`). */
export function cidrList(flags: ParameterFlags): Parameter<readonly string[]> {
  const parseOne: Parser<string> = (item) => {
    const cidr = canonicalCidr(item);
    return cidr === null ? { problem: 'not an address or prefix' } : { value: cidr };
  };
  return parameter<readonly string[]>((raw) => parseEach(splitList(raw), parseOne), [], [], flags);
}

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  '[:alpha:]': 'a-zA-Z',
  '[:digit:]': '0-9',
  '[:alnum:]': 'a-zA-Z0-9',
  '[:lower:]': 'a-z',
  '[:upper:]': 'A-Z',
  '[:xdigit:]': '0-9a-fA-F',
  '[:word:]': '\\w',
  '[:space:]': '\\s',
};

/**
 * A pattern in Go's syntax (RE2) as one of JavaScript's with the same meaning. What has no equal, such as `(?i)`, is a
 * problem rather than a pattern that means something else.
 */
export function parseGoPattern(raw: string): Parsed<string> {
  const translated = raw
    .replaceAll(/\[:\w+:\]/g, (name) => POSIX_CLASSES[name] ?? name)
    .replaceAll('(?P<', '(?<')
    .replaceAll('\\A', '^')
    .replaceAll('\\z', '$');
  // RE2 knows neither look-around nor back references; JavaScript would take them for something else.
  if (/\(\?(?!:|<[A-Za-z_])|\\[1-9pPQECk]|\[:/.test(translated))
    return { problem: 'a pattern with syntax that is not supported' };
  try {
    new RegExp(translated);
    return { value: translated };
  } catch {
    return { problem: 'not a regular expression' };
  }
}

/** A regular expression as text that JavaScript compiles; `none` is the empty text. */
export function pattern(defaultValue: string): Parameter<string> {
  return parameter(parseGoPattern, defaultValue, '');
}

/** Interface names and `/patterns/` between commas; `none` is the empty list. */
export function interfaceList(defaultValue: readonly string[]): Parameter<readonly string[]> {
  const parseOne: Parser<string> = (item) => {
    if (/^[a-zA-Z0-9_-]{1,15}$/.test(item)) return { value: item };
    if (!/^\/\S+\/$/.test(item)) return { problem: 'not an interface name or /pattern/' };
    const parsed = parseGoPattern(item.slice(1, -1));
    return isProblem(parsed) ? parsed : { value: `/${parsed.value}/` };
  };
  return parameter<readonly string[]>((raw) => parseEach(raw.split(','), parseOne), defaultValue, []);
}

function parseKeyValues(raw: string): Parsed<ReadonlyMap<string, string>> {
  const result = new Map<string, string>();
  for (const item of raw.trim() === '' ? [] : raw.split(',')) {
    if (item === '') continue;
    const match = /\s*(\w+)=(.*)/.exec(item);
    if (match?.[1] === undefined) return { problem: `${JSON.stringify(item)} is not <key>=<value>` };
    result.set(match[1], match[2] ?? '');
  }
  return { value: result };
}

/** `key=value` pairs between commas. */
export function keyValues(): Parameter<ReadonlyMap<string, string>> {
  return parameter<ReadonlyMap<string, string>>(parseKeyValues, new Map(), new Map());
}

const GO_UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a Go duration (`1m30s`, `1.5h`, `0`), or null. */
export function parseGoDuration(raw: string): number | null {
  const [, sign, body = ''] = /^([+-]?)(.*)$/.exec(raw) ?? [];
  if (body === '0') return 0;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+$/.test(body)) return null;
  let total = 0;
  for (const [, amount, unit = ''] of body.matchAll(/([\d.]+)([a-z\u00b5\u03bc]+)/g))
    total += Number(amount) * (GO_UNITS_MS[unit] ?? 0);
  return sign === '-' ? -total : total;
}

/** `key=duration` pairs between commas → milliseconds. */
export function keyDurations(): Parameter<ReadonlyMap<string, number>> {
  const parse: Parser<ReadonlyMap<string, number>> = (raw) => {
    const pairs = parseKeyValues(raw);
    if (isProblem(pairs)) return pairs;
    const result = new Map<string, number>();
    for (const [key, value] of pairs.value) {
      const duration = parseGoDuration(value.trim());
      if (duration === null) return { problem: `${key}=${value}: not a duration such as 1m30s` };
      result.set(key, duration);
    }
    return { value: result };
  };
  return parameter<ReadonlyMap<string, number>>(parse, new Map(), new Map());
}

/** One range of table numbers within 1 and 250 (deprecated form); unset is null. */
export function tableRange(): Parameter<TableRange | null> {
  const parse: Parser<TableRange | null> = (raw) => {
    const match = /^(\d+)-(\d+)$/.exec(raw);
    const [min, max] = [Number(match?.[1]), Number(match?.[2])];
    const isValid = match !== null && min >= 1 && max >= min && max <= 250;
    return isValid ? { value: { min, max } } : { problem: 'not a range of route tables within 1-250' };
  };
  return parameter<TableRange | null>(parse, null, null, { dieOnFail: true });
}

/** Most tables that all ranges together may name. */
const MAX_TABLES = 0xffff;

/** Ranges of table numbers in any text between them, as Felix reads it; empty when unset. */
export function tableRanges(): Parameter<readonly TableRange[]> {
  const parse: Parser<readonly TableRange[]> = (raw) => {
    const ranges = [...raw.matchAll(/(\d+)-(\d+)/g)].map(([, min, max]) => ({ min: Number(min), max: Number(max) }));
    if (ranges.length === 0) return { problem: 'not a list of route table ranges' };
    let count = 0;
    for (const { min, max } of ranges) {
      if (min <= 0 || min > max || max > 0xffffffff) return { problem: `${min}-${max} is not a range of route tables` };
      count += max - min + 1;
    }
    return count > MAX_TABLES ? { problem: `names ${count} tables, more than ${MAX_TABLES}` } : { value: ranges };
  };
  return parameter<readonly TableRange[]>(parse, [], [], { dieOnFail: true });
}
