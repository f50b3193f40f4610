// Reads what `ip -j`, `bridge -j` and `tc -j` print into the types of `route-kernel`. Pure; unknown fields are ignored,
// entries without what they must have are left out.
import { canonicalAddress, canonicalCidr } from '../base/ip.js';
import type { Family } from '../model/family.js';
import type {
  KernelAddress,
  KernelFailure,
  KernelFdbEntry,
  KernelLink,
  KernelNeighbour,
  KernelRoute,
  KernelRouteType,
  KernelRule,
  KernelTbf,
  VxlanSettings,
} from './route-kernel.js';

/** One JSON object of a tool's output. */
export type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(object: JsonObject, key: string): string | null {
  const value = object[key];
  return typeof value === 'string' ? value : null;
}

function numberOf(object: JsonObject, key: string): number {
  const value = object[key];
  if (typeof value === 'number') return value;
  if (typeof value === 'string' && value !== '') {
    const parsed = Number(value);
    return Number.isFinite(parsed) ? parsed : 0;
  }
  return 0;
}

function listOf(object: JsonObject, key: string): readonly unknown[] {
  const value = object[key];
  return Array.isArray(value) ? value : [];
}

/**
 * The arrays that a batch prints, one for each line that succeeded. Throws `SyntaxError` when the text is no such
 * thing. iproute2 starts each array at the beginning of a line and closes it before a line feed.
 */
export function readJsonArrays(text: string): JsonObject[][] {
  const trimmed = text.trim();
  if (trimmed === '') return [];
  return trimmed.split(/(?<=\])\s*\n\s*(?=\[)/).map((part) => (JSON.parse(part) as unknown[]).filter(isObject));
}

function readVxlan(data: JsonObject): VxlanSettings {
  return {
    vni: numberOf(data, 'id'),
    port: numberOf(data, 'port'),
    local: textOf(data, 'local') ?? textOf(data, 'local6'),
    parent: textOf(data, 'link'),
    group: textOf(data, 'group') ?? textOf(data, 'group6') ?? textOf(data, 'remote') ?? textOf(data, 'remote6'),
    learning: data['learning'] === true,
  };
}

/** One entry of `ip -j -d link`. iproute2 shows IFF_RUNNING only by its absence, as NO-CARRIER on a link that is UP. */
export function readLink(entry: JsonObject): KernelLink | null {
  const name = textOf(entry, 'ifname');
  const ifindex = numberOf(entry, 'ifindex');
  if (name === null || ifindex === 0) return null;
  const flags = listOf(entry, 'flags');
  const info = isObject(entry['linkinfo']) ? entry['linkinfo'] : {};
  const kind = textOf(info, 'info_kind');
  const data = isObject(info['info_data']) ? info['info_data'] : {};
  const isUp = flags.includes('UP');
  return {
    ifindex,
    name,
    kind,
    isUp,
    isRunning: isUp && !flags.includes('NO-CARRIER'),
    mtu: numberOf(entry, 'mtu'),
    mac: textOf(entry, 'address'),
    vxlan: kind === 'vxlan' ? readVxlan(data) : null,
  };
}

const SCOPE_NUMBERS: Readonly<Record<string, number>> = { global: 0, site: 200, link: 253, host: 254 };

/** The addresses of one entry of `ip -j addr`. */
export function readAddresses(entry: JsonObject): KernelAddress[] {
  const interfaceName = textOf(entry, 'ifname');
  if (interfaceName === null) return [];
  const addresses: KernelAddress[] = [];
  for (const info of listOf(entry, 'addr_info')) {
    if (!isObject(info)) continue;
    const address = canonicalAddress(textOf(info, 'local') ?? '');
    const scope = textOf(info, 'scope') ?? 'global';
    if (address === null) continue;
    addresses.push({
      interfaceName,
      family: textOf(info, 'family') === 'inet6' ? 6 : 4,
      address,
      length: numberOf(info, 'prefixlen'),
      scope: SCOPE_NUMBERS[scope] ?? Number(scope),
    });
  }
  return addresses;
}

const ROUTE_TYPES: Readonly<Record<number, KernelRouteType>> = {
  1: 'unicast',
  2: 'local',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
  9: 'throw',
};

function gatewayOf(entry: JsonObject): string | null {
  const via = isObject(entry['via']) ? textOf(entry['via'], 'host') : null;
  return textOf(entry, 'gateway') ?? via;
}

/**
 * One entry of `ip -N -d -j route`. `interfaceName` stands in where the listing was for one interface, which iproute2
 * then leaves out of its output.
 */
export function readRoute(entry: JsonObject, family: Family, interfaceName: string | null): KernelRoute | null {
  const rawDst = textOf(entry, 'dst');
  const dst = rawDst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : canonicalCidr(rawDst ?? '');
  if (dst === null) return null;
  const type = ROUTE_TYPES[numberOf(entry, 'type')] ?? 'other';
  const flags = listOf(entry, 'flags');
  const metrics = listOf(entry, 'metrics').find(isObject);
  const hasInterface = type === 'unicast' || type === 'local' || type === 'other';
  const hops = listOf(entry, 'nexthops').filter(isObject);
  return {
    dst,
    tos: numberOf(entry, 'tos'),
    priority: numberOf(entry, 'metric'),
    type,
    scope: family === 6 ? 0 : numberOf(entry, 'scope'),
    protocol: numberOf(entry, 'protocol'),
    gateway: gatewayOf(entry),
    src: textOf(entry, 'prefsrc'),
    onlink: flags.includes('onlink') || hops.some((hop) => listOf(hop, 'flags').includes('onlink')),
    mtu: metrics === undefined ? 0 : numberOf(metrics, 'mtu'),
    interfaceName: hasInterface && hops.length === 0 ? (textOf(entry, 'dev') ?? interfaceName) : null,
    nextHops: hops.map((hop) => ({
      gateway: gatewayOf(hop),
      interfaceName: textOf(hop, 'dev'),
      onlink: listOf(hop, 'flags').includes('onlink'),
    })),
  };
}

/** One entry of `ip -N -j rule`. */
export function readRule(entry: JsonObject, family: Family): KernelRule {
  const mark = numberOf(entry, 'fwmark');
  const source = textOf(entry, 'src');
  const length = 'srclen' in entry ? numberOf(entry, 'srclen') : family === 4 ? 32 : 128;
  return {
    family,
    priority: numberOf(entry, 'priority'),
    table: numberOf(entry, 'table'),
    mark,
    // A mark without a mask is matched whole.
    mask: 'fwmask' in entry ? numberOf(entry, 'fwmask') : 'fwmark' in entry ? 0xffffffff : 0,
    invert: 'not' in entry,
    source: source === null || source === 'all' ? null : canonicalCidr(`${source}/${length}`),
  };
}

/** One entry of `ip -j neigh`; null unless it is a permanent one with a MAC. */
export function readNeighbour(entry: JsonObject, family: Family, interfaceName: string | null): KernelNeighbour | null {
  const address = canonicalAddress(textOf(entry, 'dst') ?? '');
  const mac = textOf(entry, 'lladdr');
  const dev = textOf(entry, 'dev') ?? interfaceName;
  if (address === null || mac === null || dev === null || !listOf(entry, 'state').includes('PERMANENT')) return null;
  return { family, interfaceName: dev, address, mac: mac.toLowerCase() };
}

/** One entry of `bridge -j fdb show dev NAME`; null unless it is a permanent one with a remote. */
export function readFdbEntry(entry: JsonObject, interfaceName: string): KernelFdbEntry | null {
  const mac = textOf(entry, 'mac');
  const remote = canonicalAddress(textOf(entry, 'dst') ?? '');
  if (mac === null || remote === null || textOf(entry, 'state') !== 'permanent') return null;
  return { interfaceName, mac: mac.toLowerCase(), remote };
}

/** The root TBF in a `tc -r -d -j qdisc` listing, or null. */
export function readTbf(entries: readonly JsonObject[]): KernelTbf | null {
  const entry = entries.find((item) => item['kind'] === 'tbf' && item['root'] === true);
  const options = entry !== undefined && isObject(entry['options']) ? entry['options'] : null;
  if (options === null) return null;
  return {
    rate: numberOf(options, 'rate'),
    bufferTicks: Number.parseInt(textOf(options, 'burst_raw') ?? '0', 16),
    limit: numberOf(options, 'limit'),
    peakRate: null,
    minBurst: Number.parseInt(textOf(options, 'mtu_raw') ?? '0', 16),
  };
}

/** Targets of the redirect actions in a `tc -j filter` listing. */
export function readRedirects(entries: readonly JsonObject[]): string[] {
  const targets: string[] = [];
  for (const entry of entries) {
    const options = isObject(entry['options']) ? entry['options'] : {};
    for (const action of listOf(options, 'actions')) {
      const target = isObject(action) && action['kind'] === 'mirred' ? textOf(action, 'to_dev') : null;
      if (target !== null) targets.push(target);
    }
  }
  return targets;
}

const FAILURE_PATTERNS: readonly (readonly [RegExp, KernelFailure['reason']])[] = [
  [/Cannot find device|No such device/, 'interface-missing'],
  [/Network is down|nexthop is not up|Nexthop device is not up|carrier .* is down/, 'interface-down'],
  [/File exists|already assigned|already exists/, 'exists'],
  [
    /No such process|No such file or directory|Cannot assign requested address|Address not found|Cannot delete qdisc with handle of zero|Cannot find specified qdisc|Invalid handle|FIB table does not exist/,
    'missing',
  ],
  [/Unknown device type|Operation not supported|Protocol not supported/, 'unsupported'],
];

/** Class of a failure by what the tool said (iproute2 6.1 and the kernel's extended acknowledgements). */
export function classifyFailure(message: string): KernelFailure {
  const text = message.trim();
  const hit = FAILURE_PATTERNS.find(([pattern]) => pattern.test(text));
  return { reason: hit === undefined ? 'other' : hit[1], message: text === '' ? 'no reason given' : text };
}

/** What a batch's stderr says: texts by 0-based line, and text that no line was named for. */
export function readBatchErrors(stderr: string): {
  readonly byLine: ReadonlyMap<number, string>;
  readonly rest: string;
} {
  const byLine = new Map<number, string>();
  let pending: string[] = [];
  for (const line of stderr.split('\n')) {
    const match = /^Command failed .*:(\d+)\s*$/.exec(line);
    if (match === null) {
      if (line.trim() !== '') pending.push(line.trim());
      continue;
    }
    byLine.set(Number(match[1]) - 1, pending.join('; '));
    pending = [];
  }
  return { byLine, rest: pending.join('; ') };
}
