import { expect, test } from 'vitest';
import { measuredWireguard, measureWireguard } from '../../../src/cli/wireguard-gauges.js';
import { Metrics } from '../../../src/metrics/metrics.js';
import type { WireguardControl, WireguardTraffic } from '../../../src/routes/wireguard.js';

const OURS = Buffer.alloc(32, 1).toString('base64');
const NEAR = Buffer.alloc(32, 2).toString('base64');
const FAR = Buffer.alloc(32, 3).toString('base64');

function controlOf(devices: Record<string, WireguardTraffic>): WireguardControl {
  return {
    read: () => Promise.reject(new Error('not asked for')),
    configure: () => Promise.reject(new Error('not asked for')),
    traffic: (deviceName) => devices[deviceName] ?? null,
  };
}

const DEVICE: WireguardTraffic = {
  publicKey: OURS,
  listenPort: 51820,
  peers: [
    {
      publicKey: NEAR,
      endpoint: { address: '192.168.0.2', port: 51820 },
      sentBytes: 12n,
      receivedBytes: 34n,
      lastHandshake: 1_795_000_000n,
    },
    {
      publicKey: FAR,
      endpoint: { address: 'fd00::2', port: 1 },
      sentBytes: 0n,
      receivedBytes: 0n,
      lastHandshake: null,
    },
  ],
};

test('measureWireguard, a device with two peers, tells what Felix tells (felix/wireguard/metrics_test.go)', async () => {
  const metrics = new Metrics();
  const control = controlOf({ 'wireguard.cali': DEVICE });
  measureWireguard(metrics, { control, deviceNames: ['wireguard.cali', 'wg-v6.cali'], hostname: 'node-1' });
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('wireguard_'));
  const near = `hostname="node-1",public_key="${OURS}",peer_key="${NEAR}",peer_endpoint="192.168.0.2:51820"`;
  const far = `hostname="node-1",public_key="${OURS}",peer_key="${FAR}",peer_endpoint="[fd00::2]:1"`;
  expect(lines.toSorted()).toEqual(
    [
      `wireguard_meta{hostname="node-1",public_key="${OURS}",iface="wireguard.cali",listen_port="51820"} 1`,
      `wireguard_latest_handshake_seconds{${near}} 1795000000`,
      `wireguard_latest_handshake_seconds{${far}} -62135596800`,
      `wireguard_bytes_sent{${near}} 12`,
      `wireguard_bytes_sent{${far}} 0`,
      `wireguard_bytes_rcvd{${near}} 34`,
      `wireguard_bytes_rcvd{${far}} 0`,
    ].toSorted(),
  );
  measureWireguard(metrics, { control: controlOf({}), deviceNames: ['wireguard.cali'], hostname: 'node-1' });
  expect(await metrics.text()).not.toContain('wireguard_');
});

test('measuredWireguard, off or without netlink, is nothing', () => {
  const config = {
    wireguardEnabled: false,
    wireguardEnabledV6: false,
    wireguardInterfaceName: 'wireguard.cali',
    wireguardInterfaceNameV6: 'wg-v6.cali',
  };
  expect(measuredWireguard(config, { wireguard: controlOf({}) })).toBeNull();
  expect(measuredWireguard({ ...config, wireguardEnabled: true }, { wireguard: null })).toBeNull();
  expect(measuredWireguard({ ...config, wireguardEnabledV6: true }, { wireguard: controlOf({}) })?.deviceNames).toEqual(
    ['wg-v6.cali'],
  );
});
