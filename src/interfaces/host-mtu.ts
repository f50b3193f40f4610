// MTU of the host, of tunnels and of pods, and the file that tells the CNI plugin (dataplane.md 2.6, 2.7; ops.md 3).
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { HostFiles } from '../kernel/files.js';
import type { ListedLink } from './link-kernel.js';

/** Used when no interface matches. */
export const DEFAULT_HOST_MTU = 1460;

const OVERHEAD = { ipip: 20, vxlan: 50, vxlanV6: 70, wireguard: 60, wireguardV6: 80 } as const;
/** Azure's own encapsulation, on top of wireguard's when host traffic is encrypted. */
const AKS_OVERHEAD = 100;

/** Smallest MTU among the operationally up links whose name matches MTUIfacePattern; empty (`none`) matches no link. */
export function detectHostMtu(links: readonly ListedLink[], pattern: string): number {
  if (pattern === '') return DEFAULT_HOST_MTU;
  const matches = new RegExp(pattern);
  const mtus = links.filter((link) => link.isRunning && matches.test(link.name)).map((link) => link.mtu);
  return mtus.length === 0 ? DEFAULT_HOST_MTU : Math.min(...mtus);
}

/** MTU of each kind of tunnel: as configured, else the host's less the overhead. */
export interface TunnelMtus {
  readonly ipip: number;
  readonly vxlan: number;
  readonly vxlanV6: number;
  readonly wireguard: number;
  readonly wireguardV6: number;
}

/** Fills in what is not configured. `isAks` is true when the cluster's provider is AKS. */
export function tunnelMtus(config: DataplaneConfig, hostMtu: number): TunnelMtus {
  const isAks = config.clusterType.toLowerCase().split(',').includes('aks');
  const extra = isAks && config.wireguardHostEncryptionEnabled ? AKS_OVERHEAD : 0;
  const or = (configured: number, fallback: number): number => (configured === 0 ? fallback : configured);
  return {
    ipip: or(config.ipInIpMtu, hostMtu - OVERHEAD.ipip),
    vxlan: or(config.vxlanMTU, hostMtu - OVERHEAD.vxlan),
    vxlanV6: or(config.vxlanMTUV6, hostMtu - OVERHEAD.vxlanV6),
    wireguard: or(config.wireguardMTU, hostMtu - OVERHEAD.wireguard - extra),
    wireguardV6: or(config.wireguardMTUV6, hostMtu - OVERHEAD.wireguardV6 - extra),
  };
}

/** MTU for pods: the smallest of the enabled tunnels, the host's if there is none. */
export function podMtu(config: DataplaneConfig, environment: DataplaneEnvironment): number {
  const mtus = tunnelMtus(config, environment.hostMtu);
  const enabled = [
    environment.ipipEnabled ? mtus.ipip : 0,
    environment.vxlanEnabled ? mtus.vxlan : 0,
    environment.vxlanEnabledV6 ? mtus.vxlanV6 : 0,
    config.wireguardEnabled ? mtus.wireguard : 0,
    config.wireguardEnabledV6 ? mtus.wireguardV6 : 0,
  ].filter((mtu) => mtu > 0);
  return enabled.length === 0 ? environment.hostMtu : Math.min(...enabled);
}

/** Where the CNI plugin looks. */
export const MTU_FILE = '/var/lib/calico/mtu';

/** Writes the number, without a line feed, unless the file has it already. Rejects when the file cannot be written. */
export async function writeMtuFile(files: HostFiles, path: string, mtu: number): Promise<void> {
  if ((await files.read(path)) === String(mtu)) return;
  await files.replace(path, String(mtu), 0o644);
}
