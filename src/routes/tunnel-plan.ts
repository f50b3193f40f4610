// What has to be done to a tunnel device (dataplane.md 6.5, 6.6). Pure.
import type { KernelAddress, KernelLink, KernelOperation, NewLink } from './route-kernel.js';
import { GONE, type PlannedWrite } from './kernel-writes.js';
import type { TunnelDevice } from './route-table.js';

/** Why the existing device cannot be made into the wanted one and must go; null if it can stay. */
export function vxlanIncompatibility(wanted: TunnelDevice, link: KernelLink): string | null {
  if (wanted.kind !== 'vxlan') return null;
  const actual = link.vxlan;
  if (link.kind !== 'vxlan' || actual === null) return `link type ${link.kind ?? 'none'}`;
  if (actual.vni !== wanted.vni) return `VNI ${actual.vni}`;
  if (actual.parent !== wanted.parent) return `parent ${actual.parent ?? 'none'}`;
  if (actual.local !== null && actual.local !== wanted.underlayAddress) return `source address ${actual.local}`;
  if (actual.group !== null) return `group ${actual.group}`;
  if (actual.port !== wanted.port) return `port ${actual.port}`;
  if (link.mac !== null && link.mac.toLowerCase() !== wanted.mac.toLowerCase()) return `MAC ${link.mac}`;
  return null;
}

function write(operation: KernelOperation, object: string, forgiven: PlannedWrite['forgiven'] = []): PlannedWrite {
  return { operation, object, forgiven };
}

function newLink(wanted: TunnelDevice): NewLink {
  if (wanted.kind === 'ipip') return { kind: 'ipip', name: wanted.name, mtu: wanted.mtu };
  const { name, vni, port, parent, mac, mtu, underlayAddress } = wanted;
  return { kind: 'vxlan', name, vni, port, local: underlayAddress, parent, mac, mtu };
}

/** The kernel's own IPv6 address of the device. */
function isLinkLocal(address: KernelAddress): boolean {
  return address.family === 6 && address.address.startsWith('fe80:');
}

function addressWrites(wanted: TunnelDevice, addresses: readonly KernelAddress[]): PlannedWrite[] {
  const family = wanted.address.includes(':') ? 6 : 4;
  const length = family === 4 ? 32 : 128;
  const isWanted = (address: KernelAddress): boolean => address.address === wanted.address && address.length === length;
  const own = addresses.filter((address) => address.family === family && !isLinkLocal(address));
  const writes = own
    .filter((address) => !isWanted(address))
    .map((address) =>
      write({ op: 'delete-address', address }, `${address.address}/${address.length} dev ${wanted.name}`, GONE),
    );
  if (!own.some(isWanted)) {
    const address = { interfaceName: wanted.name, family, address: wanted.address, length, scope: 0 } as const;
    writes.push(write({ op: 'add-address', address }, `${wanted.address}/${length} dev ${wanted.name}`, ['exists']));
  }
  return writes;
}

/**
 * The writes that make the device what is wanted; null = removed, but for an ipip device, which the kernel keeps and
 * which only loses its IPv4 addresses. `addresses` are those of this device.
 */
export function planTunnelDevice(
  name: string,
  wanted: TunnelDevice | null,
  link: KernelLink | undefined,
  addresses: readonly KernelAddress[],
): PlannedWrite[] {
  if (wanted === null) {
    if (link === undefined) return [];
    if (link.kind === 'vxlan') return [write({ op: 'delete-link', name }, name, GONE)];
    return addresses
      .filter((address) => address.family === 4)
      .map((address) =>
        write({ op: 'delete-address', address }, `${address.address}/${address.length} dev ${name}`, GONE),
      );
  }
  const recreate = link !== undefined && vxlanIncompatibility(wanted, link) !== null;
  const kept = recreate ? undefined : link;
  const writes: PlannedWrite[] = [];
  if (recreate) writes.push(write({ op: 'delete-link', name }, name, GONE));
  // Loading the ipip module makes tunl0 by itself, so `exists` is as good as done.
  if (kept === undefined) {
    writes.push(write({ op: 'add-link', link: newLink(wanted) }, name, wanted.kind === 'ipip' ? ['exists'] : []));
  }
  const mtuMayDiffer = kept === undefined ? wanted.kind === 'ipip' : kept.mtu !== wanted.mtu;
  if (wanted.mtu !== 0 && mtuMayDiffer) {
    writes.push(write({ op: 'set-link-mtu', name, mtu: wanted.mtu }, `${name} mtu ${wanted.mtu}`));
  }
  writes.push(...addressWrites(wanted, kept === undefined ? [] : addresses));
  if (kept === undefined || !kept.isUp) writes.push(write({ op: 'set-link-up', name }, name));
  return writes;
}
