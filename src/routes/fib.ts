// A route as the kernel keys and compares it, made from a wanted target or from a listing, so that the two compare.
import { canonicalAddress, canonicalCidr } from '../base/ip.js';
import type { Family } from '../model/family.js';
import type { RouteTarget } from '../model/route.js';
import { SCOPE_LINK, SCOPE_UNIVERSE, type KernelNextHop, type KernelRoute } from './route-kernel.js';

/** Destination, TOS and metric: what tells routes of one table apart in the kernel. */
export type FibKey = string;

/** A kernel route with the index of its interface at that time (0 = none): a re-created interface is another one. */
export interface FibRoute extends KernelRoute {
  readonly ifindex: number;
}

/** IPv6 metric 0 means 1024 to the kernel, IPv4 metric 0 is itself (6.1, trap 35). */
const IPV6_DEFAULT_METRIC = 1024;

/** Metric as the kernel will report it. */
export function normalPriority(family: Family, priority: number): number {
  return family === 6 && priority === 0 ? IPV6_DEFAULT_METRIC : priority;
}

/** Key of a route of this table; `dst` canonical, `priority` normal. */
export function fibKey(dst: string, tos: number, priority: number): FibKey {
  return `${dst} ${tos} ${priority}`;
}

/** Key of a listed or wanted route. */
export function keyOfRoute(route: KernelRoute): FibKey {
  return fibKey(route.dst, route.tos, route.priority);
}

/** The address of a host route, or null for a wider prefix. */
export function singleAddress(dst: string, family: Family): string | null {
  const suffix = family === 4 ? '/32' : '/128';
  return dst.endsWith(suffix) ? dst.slice(0, -suffix.length) : null;
}

/** What is wrong with a target, or null. Checked when it is handed over, so that one bad route harms no other. */
export function targetFault(target: RouteTarget, family: Family): string | null {
  if (!target.dst.includes('/') || canonicalCidr(target.dst) === null || target.dst.includes(':') !== (family === 6)) {
    return `Destination ${JSON.stringify(target.dst)} is not an IPv${family} prefix`;
  }
  for (const address of [target.gateway, target.src, ...(target.nextHops ?? []).map((hop) => hop.gateway)]) {
    if (address === undefined) continue;
    if (canonicalAddress(address) === null || address.includes(':') !== (family === 6)) {
      return `Address ${JSON.stringify(address)} of the route to ${target.dst} is not an IPv${family} address`;
    }
  }
  return null;
}

/** The target as the kernel will report it once written. `target` has no fault. */
export function routeFromTarget(
  target: RouteTarget,
  family: Family,
  interfaceName: string | null,
  ifindex: number,
): FibRoute {
  const onlink = target.onlink === true;
  const nextHops: readonly KernelNextHop[] = (target.nextHops ?? []).map((hop) => ({
    gateway: canonicalAddress(hop.gateway),
    interfaceName: hop.interfaceName,
    onlink,
  }));
  return {
    dst: canonicalCidr(target.dst) ?? target.dst,
    tos: 0,
    priority: normalPriority(family, target.priority),
    type: target.type,
    // IPv6 has no route scopes: the kernel always reports universe.
    scope: family === 4 && target.scope === 'link' ? SCOPE_LINK : SCOPE_UNIVERSE,
    protocol: target.protocol,
    gateway: target.gateway === undefined ? null : canonicalAddress(target.gateway),
    src: target.src === undefined ? null : canonicalAddress(target.src),
    onlink,
    mtu: target.mtu ?? 0,
    interfaceName,
    nextHops,
    ifindex,
  };
}

function sameHops(a: readonly KernelNextHop[], b: readonly KernelNextHop[]): boolean {
  return (
    a.length === b.length &&
    a.every((hop, index) => hop.gateway === b[index]?.gateway && hop.interfaceName === b[index]?.interfaceName)
  );
}

/** Whether the kernel would not notice one being replaced by the other (keys are taken as equal). */
export function sameRoute(a: FibRoute, b: FibRoute): boolean {
  return (
    a.type === b.type &&
    a.scope === b.scope &&
    a.protocol === b.protocol &&
    a.gateway === b.gateway &&
    a.src === b.src &&
    a.onlink === b.onlink &&
    a.mtu === b.mtu &&
    a.interfaceName === b.interfaceName &&
    a.ifindex === b.ifindex &&
    sameHops(a.nextHops, b.nextHops)
  );
}

/** `10.65.0.2/32 dev cali1 metric 1024`, for logs and operations. */
export function describeRoute(route: KernelRoute): string {
  const type = route.type === 'unicast' ? '' : `${route.type} `;
  const via = route.gateway === null ? '' : ` via ${route.gateway}`;
  const dev = route.interfaceName === null ? '' : ` dev ${route.interfaceName}`;
  const metric = route.priority === 0 ? '' : ` metric ${route.priority}`;
  return `${type}${route.dst}${via}${dev}${metric}`;
}
