// What goes over the Wireguard devices, as Felix's families (ops.md section 4; felix/wireguard/metrics_linux.go). Asked
// of the kernel when somebody scrapes.
import { hostname } from 'node:os';
import type { DataplaneConfig } from '../model/config.js';
import type { Metrics, Sample } from '../metrics/metrics.js';
import type { WireguardControl, WireguardTraffic } from '../routes/wireguard.js';

/** Devices to be measured. */
export interface MeasuredWireguard {
  readonly control: WireguardControl;
  readonly deviceNames: readonly string[];
  /** Name of this host: a label of Felix's families. */
  readonly hostname: string;
}

/** Key of a device that has none, as Felix prints it. */
const NO_KEY = Buffer.alloc(32).toString('base64');
/** Go's zero time in Unix seconds: what Felix says before the first handshake. */
const NEVER = -62_135_596_800;

/** The devices that the configuration wants; null where there are none, or Wireguard cannot be spoken to. */
export function measuredWireguard(
  config: Pick<
    DataplaneConfig,
    'wireguardEnabled' | 'wireguardEnabledV6' | 'wireguardInterfaceName' | 'wireguardInterfaceNameV6'
  >,
  { wireguard }: { readonly wireguard: WireguardControl | null },
): MeasuredWireguard | null {
  const deviceNames = [
    ...(config.wireguardEnabled ? [config.wireguardInterfaceName] : []),
    ...(config.wireguardEnabledV6 ? [config.wireguardInterfaceNameV6] : []),
  ];
  return wireguard === null || deviceNames.length === 0
    ? null
    : { control: wireguard, deviceNames, hostname: hostname() };
}

/** Sets the families of all devices; those that are not there have no series. */
export function measureWireguard(metrics: Metrics, measured: MeasuredWireguard): void {
  const { control, deviceNames, hostname } = measured;
  const meta: Sample<'wireguard_meta'>[] = [];
  const handshakes: Sample<'wireguard_latest_handshake_seconds'>[] = [];
  const sent: Sample<'wireguard_bytes_sent'>[] = [];
  const received: Sample<'wireguard_bytes_rcvd'>[] = [];
  for (const iface of deviceNames) {
    const device = control.traffic(iface);
    if (device === null) continue;
    const publicKey = device.publicKey === '' ? NO_KEY : device.publicKey;
    meta.push({ labels: { hostname, public_key: publicKey, iface, listen_port: String(device.listenPort) }, value: 1 });
    for (const peer of device.peers) {
      const peerLabels = { peer_key: peer.publicKey, peer_endpoint: endpointText(peer.endpoint) };
      const labels = { hostname, public_key: publicKey, ...peerLabels };
      const handshake = peer.lastHandshake === null ? NEVER : Number(peer.lastHandshake);
      handshakes.push({ labels, value: handshake });
      sent.push({ labels, value: Number(peer.sentBytes) });
      received.push({ labels, value: Number(peer.receivedBytes) });
    }
  }
  metrics.replace('wireguard_meta', meta);
  metrics.replace('wireguard_latest_handshake_seconds', handshakes);
  metrics.replace('wireguard_bytes_sent', sent);
  metrics.replace('wireguard_bytes_rcvd', received);
}

/** As Go prints a UDP address: `192.168.0.2:51820`, `[fd00::2]:51820`, `<nil>`. */
function endpointText(endpoint: WireguardTraffic['peers'][number]['endpoint']): string {
  if (endpoint === null) return '<nil>';
  const { address, port } = endpoint;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
