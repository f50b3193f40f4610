// Turns typed operations into lines for `ip`, `bridge` and `tc` batches. Everything is checked here first: a batch ends
// at its first syntax error even with -force (ecosystem.md section 2).
import { isValidAddress, isValidCidr } from '../base/ip.js';
import type { KernelNextHop, KernelOperation, KernelRoute, KernelRule, KernelTbf, NewLink } from './route-kernel.js';

/** A batch of one tool: `ip6` is `ip -6`, needed for rules only. */
export type BatchTool = 'ip' | 'ip6' | 'bridge' | 'tc';

/** One line of a batch, or why the operation cannot be put into one. */
export type BatchLine = { readonly tool: BatchTool; readonly text: string } | { readonly invalid: string };

/** Thrown and caught in this file only. */
class InvalidValue extends Error {}

/** Ticks of the kernel's packet scheduler in a microsecond (include/net/pkt_sched.h, PSCHED_SHIFT 6). */
export const TICKS_PER_MICROSECOND = 15.625;

/** Whether the text may stand as an interface name in a batch: what the kernel takes, less the batch's own syntax. */
export function isBatchableInterfaceName(name: string): boolean {
  return /^[^\s/:"'\\#-][^\s/:"'\\#]{0,14}$/.test(name) && name !== '.' && name !== '..';
}

function interfaceText(name: string): string {
  if (!isBatchableInterfaceName(name)) throw new InvalidValue(`Interface name ${JSON.stringify(name)} cannot be used`);
  return name;
}

function addressText(address: string, family?: 4 | 6): string {
  if (!isValidAddress(address, family)) throw new InvalidValue(`Address ${JSON.stringify(address)} is not valid`);
  return address;
}

function cidrText(cidr: string, family: 4 | 6): string {
  if (!cidr.includes('/') || !isValidCidr(cidr, family)) {
    throw new InvalidValue(`Prefix ${JSON.stringify(cidr)} is not a valid IPv${family} prefix`);
  }
  return cidr;
}

function macText(mac: string): string {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new InvalidValue(`MAC address ${JSON.stringify(mac)} is not valid`);
  }
  return mac;
}

function numberText(value: number, what: string, max = 0xffffffff): string {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new InvalidValue(`${what} ${value} is out of range`);
  return String(value);
}

function nextHopText(hop: KernelNextHop, family: 4 | 6): string {
  const via = hop.gateway === null ? '' : ` via ${addressText(hop.gateway, family)}`;
  const dev = hop.interfaceName === null ? '' : ` dev ${interfaceText(hop.interfaceName)}`;
  return ` nexthop${via}${dev}${hop.onlink ? ' onlink' : ''}`;
}

function routeTypeText(route: KernelRoute): string {
  switch (route.type) {
    case 'unicast':
      return '';
    case 'blackhole':
    case 'throw':
    case 'prohibit':
    case 'unreachable':
    case 'local':
      return `${route.type} `;
    default:
      throw new InvalidValue(`Routes of type ${route.type} are not written`);
  }
}

function routeKeyText(route: KernelRoute, family: 4 | 6, table: number): string {
  const tos = route.tos === 0 ? '' : ` tos ${numberText(route.tos, 'TOS', 255)}`;
  const metric = route.priority === 0 ? '' : ` metric ${numberText(route.priority, 'Metric')}`;
  const protocol = ` proto ${numberText(route.protocol, 'Route protocol', 255)}`;
  return `${routeTypeText(route)}${cidrText(route.dst, family)} table ${numberText(table, 'Table')}${protocol}${metric}${tos}`;
}

function replaceRouteText(route: KernelRoute, family: 4 | 6, table: number): string {
  const key = `route replace ${routeKeyText(route, family, table)} scope ${numberText(route.scope, 'Scope', 255)}`;
  const src = route.src === null ? '' : ` src ${addressText(route.src, family)}`;
  const mtu = route.mtu === 0 ? '' : ` mtu ${numberText(route.mtu, 'MTU')}`;
  if (route.nextHops.length > 0) {
    return `${key}${src}${mtu}${route.nextHops.map((hop) => nextHopText(hop, family)).join('')}`;
  }
  const via = route.gateway === null ? '' : ` via ${addressText(route.gateway, family)}`;
  const dev = route.interfaceName === null ? '' : ` dev ${interfaceText(route.interfaceName)}`;
  return `${key}${via}${dev}${src}${mtu}${route.onlink ? ' onlink' : ''}`;
}

/** Protocol and interface go along, so that a route which somebody else has put in the place of ours is spared. */
function deleteRouteText(route: KernelRoute, family: 4 | 6, table: number): string {
  const dev = route.interfaceName === null ? '' : ` dev ${interfaceText(route.interfaceName)}`;
  return `route del ${routeKeyText(route, family, table)}${dev}`;
}

function ruleText(rule: KernelRule): string {
  const not = rule.invert ? 'not ' : '';
  const mark = rule.mask === 0 ? '' : ` fwmark ${numberText(rule.mark, 'Mark')}/${numberText(rule.mask, 'Mark mask')}`;
  const from = rule.source === null ? 'all' : cidrText(rule.source, rule.family);
  return `${not}from ${from} pref ${numberText(rule.priority, 'Priority')}${mark} table ${numberText(rule.table, 'Table')}`;
}

function newLinkText(link: NewLink): string {
  const head = `link add name ${interfaceText(link.name)} mtu ${numberText(link.mtu, 'MTU')}`;
  if (link.kind !== 'vxlan') return `${head} type ${link.kind}`;
  return (
    `${head} address ${macText(link.mac)} type vxlan id ${numberText(link.vni, 'VNI', 0xffffff)}` +
    ` dstport ${numberText(link.port, 'Port', 65535)} local ${addressText(link.local)}` +
    ` dev ${interfaceText(link.parent)} nolearning`
  );
}

/** tc takes bytes and turns them into ticks; the ticks are what was decided (2.10), so go back from them. */
function bytesFor(ticks: number, rate: number): number {
  const bytes = (ticks / TICKS_PER_MICROSECOND) * (rate / 1_000_000);
  const up = Math.ceil(bytes);
  // Past 32 bits tc would wrap round to a tiny bucket, which lets nothing through.
  const overflows = (up * 1_000_000 * TICKS_PER_MICROSECOND) / rate > 0xffffffff;
  return overflows ? Math.floor(bytes) : up;
}

function tbfText(tbf: KernelTbf): string {
  const peakRate = tbf.peakRate ?? 0;
  const rateText = (rate: number): string => `${numberText(rate, 'Rate', Number.MAX_SAFE_INTEGER)}bps`;
  const peak =
    peakRate === 0
      ? ''
      : ` peakrate ${rateText(peakRate)} minburst ${numberText(bytesFor(tbf.minBurst, peakRate), 'Minimum burst')}`;
  const burst = numberText(bytesFor(tbf.bufferTicks, tbf.rate), 'Burst');
  return `tbf rate ${rateText(tbf.rate)} burst ${burst} limit ${numberText(tbf.limit, 'Limit')}${peak}`;
}

function addressOperationText(verb: 'add' | 'del', operation: Extract<KernelOperation, { address: unknown }>): string {
  const { address, length, family, interfaceName, scope } = operation.address;
  const cidr = cidrText(`${address}/${length}`, family);
  const scopeText = verb === 'add' ? ` scope ${numberText(scope, 'Scope', 255)}` : '';
  return `addr ${verb} ${cidr} dev ${interfaceText(interfaceName)}${scopeText}`;
}

function linkLine(operation: KernelOperation): BatchLine | null {
  switch (operation.op) {
    case 'add-link':
      return { tool: 'ip', text: newLinkText(operation.link) };
    case 'delete-link':
      return { tool: 'ip', text: `link del dev ${interfaceText(operation.name)}` };
    case 'set-link-up':
      return { tool: 'ip', text: `link set dev ${interfaceText(operation.name)} up` };
    case 'set-link-mtu':
      return {
        tool: 'ip',
        text: `link set dev ${interfaceText(operation.name)} mtu ${numberText(operation.mtu, 'MTU')}`,
      };
    case 'set-link-mac':
      return { tool: 'ip', text: `link set dev ${interfaceText(operation.name)} address ${macText(operation.mac)}` };
    case 'add-address':
      return { tool: 'ip', text: addressOperationText('add', operation) };
    case 'delete-address':
      return { tool: 'ip', text: addressOperationText('del', operation) };
    default:
      return null;
  }
}

function trafficLine(operation: KernelOperation): BatchLine | null {
  if (!('interfaceName' in operation)) return null;
  const dev = `dev ${interfaceText(operation.interfaceName)}`;
  switch (operation.op) {
    case 'replace-tbf':
      return { tool: 'tc', text: `qdisc replace ${dev} root handle 1: ${tbfText(operation.tbf)}` };
    case 'delete-tbf':
      return { tool: 'tc', text: `qdisc del ${dev} root` };
    case 'add-ingress':
      return { tool: 'tc', text: `qdisc replace ${dev} handle ffff: ingress` };
    case 'delete-ingress':
      return { tool: 'tc', text: `qdisc del ${dev} ingress` };
    case 'delete-filters':
      return { tool: 'tc', text: `filter del ${dev} parent ffff: protocol all prio 1 u32` };
    case 'add-redirect':
      return {
        tool: 'tc',
        text:
          `filter add ${dev} parent ffff: protocol all prio 1 u32 match u32 0 0 classid 1:1` +
          ` action mirred egress redirect dev ${interfaceText(operation.target)}`,
      };
    default:
      return null;
  }
}

function entryLine(operation: KernelOperation): BatchLine | null {
  switch (operation.op) {
    case 'replace-neighbour': {
      const { address, family, mac, interfaceName } = operation.neighbour;
      const text = `neigh replace ${addressText(address, family)} lladdr ${macText(mac)} dev ${interfaceText(interfaceName)} nud permanent`;
      return { tool: 'ip', text };
    }
    case 'delete-neighbour': {
      const { address, family, interfaceName } = operation.neighbour;
      return { tool: 'ip', text: `neigh del ${addressText(address, family)} dev ${interfaceText(interfaceName)}` };
    }
    case 'replace-fdb':
    case 'delete-fdb': {
      const { mac, interfaceName, remote } = operation.entry;
      const verb = operation.op === 'replace-fdb' ? 'replace' : 'del';
      const text = `fdb ${verb} ${macText(mac)} dev ${interfaceText(interfaceName)} dst ${addressText(remote)} self permanent`;
      return { tool: 'bridge', text };
    }
    case 'add-rule':
    case 'delete-rule': {
      const tool = operation.rule.family === 6 ? 'ip6' : 'ip';
      return { tool, text: `rule ${operation.op === 'add-rule' ? 'add' : 'del'} ${ruleText(operation.rule)}` };
    }
    case 'replace-route':
      return { tool: 'ip', text: replaceRouteText(operation.route, operation.family, operation.table) };
    case 'delete-route':
      return { tool: 'ip', text: deleteRouteText(operation.route, operation.family, operation.table) };
    default:
      return null;
  }
}

/** The batch line of an operation. Never throws: a malformed value comes back as `invalid` with the reason. */
export function batchLine(operation: KernelOperation): BatchLine {
  try {
    const line = entryLine(operation) ?? linkLine(operation) ?? trafficLine(operation);
    return line ?? { invalid: `Operation ${operation.op} is not known` };
  } catch (error) {
    if (error instanceof InvalidValue) return { invalid: error.message };
    throw error;
  }
}
