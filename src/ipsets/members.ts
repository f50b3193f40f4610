// Members of IP sets as text: one form for what Felix sends and for what the kernel prints (dataplane.md 4.7).
import { formatAddress, formatIpv6, maskCidr, parseCidr, parseIpv4, parseIpv6 } from '../base/ip.js';
import type { Family } from '../model/family.js';
import type { IpSetType } from '../model/ip-set.js';

const MAX_PORT = 65_535;

/** Whether the address of a member (`10.0.0.1`, `fd00::/64`, `fd00::1,tcp:80`) is of the other family. */
export function isOtherFamily(family: Family, member: string): boolean {
  const comma = member.indexOf(',');
  const colon = member.indexOf(':');
  const isV6 = colon >= 0 && (comma < 0 || colon < comma);
  return isV6 !== (family === 6);
}

function canonicalHost(family: Family, text: string): string | null {
  if (family === 4) return parseIpv4(text) === null ? null : text;
  const value = parseIpv6(text);
  return value === null ? null : formatIpv6(value);
}

/** The two halves of all addresses, as Felix's graph makes them of a network set (calc-graph.md): hash:net holds no `/0`. */
const HALVES: Readonly<Record<Family, readonly string[]>> = {
  4: ['0.0.0.0/1', '128.0.0.0/1'],
  6: ['::/1', '8000::/1'],
};

/** A whole membership of a hash:net set, with two halves for each member that is all addresses of a family. */
export function* withHalves(members: Iterable<string>): Generator<string> {
  for (const member of members) {
    const cidr = member.endsWith('/0') ? parseCidr(member) : null;
    if (cidr === null) yield member;
    else yield* HALVES[cidr.family];
  }
}

/** `/32` and `/128` are left out, as the kernel prints them; `/0` is refused, as hash:net does (dataplane.md 1.4). */
function canonicalNet(family: Family, text: string): string | null {
  if (family === 4 && text.endsWith('/32')) return canonicalHost(family, text.slice(0, -3));
  if (!text.includes('/')) return canonicalHost(family, text);
  const cidr = parseCidr(text);
  if (cidr === null || cidr.family !== family || cidr.length === 0) return null;
  const masked = maskCidr(cidr);
  const full = family === 4 ? 32 : 128;
  return cidr.length === full ? formatAddress(masked) : `${formatAddress(masked)}/${cidr.length}`;
}

function canonicalIpPort(family: Family, text: string): string | null {
  const match = /^([^,]+),([a-zA-Z]+):(\d{1,5})$/.exec(text);
  const [, host, protocol, port] = match ?? [];
  if (host === undefined || protocol === undefined || port === undefined) return null;
  const address = canonicalHost(family, host);
  const lower = protocol.toLowerCase();
  if (address === null || (lower !== 'tcp' && lower !== 'udp' && lower !== 'sctp')) return null;
  const number = Number(port);
  return number > MAX_PORT ? null : `${address},${lower}:${number}`;
}

/**
 * The one text of a member of our family, as the kernel prints it, or null if it is no member of such a set:
 * `10.0.0.1` (hash:ip; a full-length prefix is taken as its address), `10.0.0.0/26` or `10.0.0.1` (hash:net),
 * `10.0.0.1,tcp:80` (hash:ip,port; tcp, udp or sctp).
 */
export function canonicalMember(type: IpSetType, family: Family, text: string): string | null {
  switch (type) {
    case 'hash:ip': {
      const full = family === 4 ? '/32' : '/128';
      return canonicalHost(family, text.endsWith(full) ? text.slice(0, -full.length) : text);
    }
    case 'hash:net':
      return canonicalNet(family, text);
    case 'hash:ip,port':
      return canonicalIpPort(family, text);
  }
}
