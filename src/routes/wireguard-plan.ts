// The changes that lead from a Wireguard device as it is to what it should be (dataplane.md 6.7). Pure.
import type { WireguardChange, WireguardDeviceState, WireguardKernelPeer, WireguardPeer } from './wireguard.js';

/** What all peers and the device share. */
export interface WireguardSettings {
  readonly listenPort: number;
  readonly mark: number;
  readonly keepaliveMs: number;
}

/** The peer as the kernel should have it. All nodes listen on the same port. */
export function kernelPeer(peer: WireguardPeer, settings: WireguardSettings): WireguardKernelPeer {
  return {
    publicKey: peer.publicKey,
    endpoint: { address: peer.endpoint, port: settings.listenPort },
    allowedIps: peer.allowedIps,
    // The kernel counts whole seconds: anything finer would differ at every look.
    keepaliveMs: Math.floor(settings.keepaliveMs / 1000) * 1000,
  };
}

function samePeer(wanted: WireguardKernelPeer, actual: WireguardKernelPeer): boolean {
  const allowed = new Set(actual.allowedIps);
  return (
    wanted.endpoint?.address === actual.endpoint?.address &&
    wanted.endpoint?.port === actual.endpoint?.port &&
    wanted.keepaliveMs === actual.keepaliveMs &&
    allowed.size === wanted.allowedIps.length &&
    wanted.allowedIps.every((cidr) => allowed.has(cidr))
  );
}

/** A full comparison; removals first, as a prefix belongs to one peer only. */
export function planWireguardResync(
  wanted: ReadonlyMap<string, WireguardPeer>,
  actual: WireguardDeviceState,
  settings: WireguardSettings,
): WireguardChange[] {
  const changes: WireguardChange[] = [];
  if (actual.publicKey === '') changes.push({ op: 'generate-key' });
  if (actual.listenPort !== settings.listenPort) changes.push({ op: 'set-listen-port', port: settings.listenPort });
  if (actual.mark !== settings.mark) changes.push({ op: 'set-mark', mark: settings.mark });
  const known = new Map(actual.peers.map((peer) => [peer.publicKey, peer]));
  for (const publicKey of known.keys()) {
    if (!wanted.has(publicKey)) changes.push({ op: 'remove-peer', publicKey });
  }
  for (const peer of wanted.values()) {
    const target = kernelPeer(peer, settings);
    const existing = known.get(peer.publicKey);
    if (existing === undefined || !samePeer(target, existing)) changes.push({ op: 'set-peer', peer: target });
  }
  return changes;
}

/** The changes for some peers only, when everything else is known to be right. */
export function planWireguardDelta(
  dirtyKeys: Iterable<string>,
  wanted: ReadonlyMap<string, WireguardPeer>,
  settings: WireguardSettings,
): WireguardChange[] {
  const removals: WireguardChange[] = [];
  const updates: WireguardChange[] = [];
  for (const publicKey of dirtyKeys) {
    const peer = wanted.get(publicKey);
    if (peer === undefined) removals.push({ op: 'remove-peer', publicKey });
    else updates.push({ op: 'set-peer', peer: kernelPeer(peer, settings) });
  }
  return [...removals, ...updates];
}
