// The host of a recording, as interface events: read from the shell lines that made it.
import { formatIpv6, parseIpv6 } from '../../src/base/ip.js';
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../../src/model/interface.js';

/** An interface and what the monitor would say of it. */
export interface RecordedInterface {
  readonly state: InterfaceStateEvent;
  /** Null for excluded interfaces, which have no address events. */
  readonly addresses: InterfaceAddressEvent | null;
}

/** Link-local address that the kernel makes from a MAC (EUI-64). */
function linkLocal(mac: string): string {
  const [a = '0', b, c, d, e, f] = mac.split(':');
  const first = (Number.parseInt(a, 16) ^ 2).toString(16);
  const value = parseIpv6(`fe80::${first}${b}:${c}ff:fe${d}:${e}${f}`);
  return value === null ? '' : formatIpv6(value);
}

/** All interfaces of the host, `lo` first. A veth is operationally up when both ends are. */
export function readHost(script: string): RecordedInterface[] {
  const macs = new Map<string, string>();
  const peers = new Map<string, string>();
  const addresses = new Map<string, string[]>();
  const adminUp = new Set<string>();
  for (const line of script.split('\n')) {
    const veth = /^ip link add (\S+) address (\S+) type veth peer name (\S+) address (\S+)$/.exec(line);
    if (veth !== null) {
      const [, name = '', mac = '', peer = '', peerMac = ''] = veth;
      macs.set(name, mac).set(peer, peerMac);
      peers.set(name, peer).set(peer, name);
    }
    const address = /^ip (?:-6 )?addr add ([^/]+)\/\d+ dev (\S+)/.exec(line);
    if (address !== null)
      addresses.set(address[2] ?? '', [...(addresses.get(address[2] ?? '') ?? []), address[1] ?? '']);
    const up = /^ip link set (\S+) up$/.exec(line);
    if (up !== null) adminUp.add(up[1] ?? '');
  }
  const interfaces: RecordedInterface[] = [
    {
      state: { name: 'lo', state: 'up', ifindex: 1 },
      addresses: { name: 'lo', addresses: new Set(['127.0.0.0', '127.0.0.1', '::1']) },
    },
  ];
  for (const [name, mac] of macs) {
    const isUp = adminUp.has(name) && adminUp.has(peers.get(name) ?? '');
    const own = [...(addresses.get(name) ?? []), ...(isUp ? [linkLocal(mac)] : [])];
    interfaces.push({
      state: { name, state: isUp ? 'up' : 'down', ifindex: interfaces.length + 1 },
      addresses: name === 'kube-ipvs0' ? null : { name, addresses: new Set(own) },
    });
  }
  return interfaces;
}
