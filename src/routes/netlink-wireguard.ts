// The kernel's Wireguard by generic netlink, as the Wireguard reconciler asks for it.
import { NetlinkError } from '../base/errors.js';
import { GenericNetlink, genericAttributes } from '../kernel/netlink/genetlink.js';
import type { NativeLibrary } from '../kernel/netlink/library.js';
import { RETRY_ERRNOS } from '../kernel/netlink/socket.js';
import {
  changeDeviceRequests,
  generatePrivateKey,
  readDeviceRequest,
  WIREGUARD_FAMILY,
  type WireguardDeviceChange,
  WireguardDeviceReader,
} from '../kernel/netlink/wireguard.js';
import type { WireguardChange, WireguardControl, WireguardDeviceState, WireguardTraffic } from './wireguard.js';

/** A dump that a change interrupted is taken again this often. */
const DUMP_ATTEMPTS = 5;
const EINVAL = 22;
const ENODEV = 19;
const EOPNOTSUPP = 95;

/** Wireguard devices over one socket. */
export class NetlinkWireguard implements WireguardControl {
  readonly #netlink: GenericNetlink;

  /** @throws NetlinkError when the kernel has no generic netlink. */
  constructor(library: NativeLibrary) {
    this.#netlink = new GenericNetlink(library);
  }

  /** Rejects with EOPNOTSUPP when the kernel has no Wireguard. */
  async read(deviceName: string): Promise<WireguardDeviceState | null> {
    await Promise.resolve();
    const family = this.#family();
    for (let attempt = 1; ; attempt++) {
      const reader = new WireguardDeviceReader();
      try {
        this.#netlink.dump(readDeviceRequest(family, deviceName), (message) => reader.read(genericAttributes(message)));
        return reader.finish();
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        if (error.errno === ENODEV || error.errno === EOPNOTSUPP) return null;
        if (error.errno !== RETRY_ERRNOS.interrupted || attempt === DUMP_ATTEMPTS) throw error;
      }
    }
  }

  /** See WireguardControl. */
  traffic(deviceName: string): WireguardTraffic | null {
    const reader = new WireguardDeviceReader();
    try {
      const request = readDeviceRequest(this.#family(), deviceName);
      this.#netlink.dump(request, (message) => reader.read(genericAttributes(message)));
    } catch {
      // No such device, no Wireguard, or an interrupted dump: the next scrape asks again.
      return null;
    }
    const device = reader.finish();
    if (device === null) return null;
    return { publicKey: device.publicKey, listenPort: device.listenPort, peers: reader.traffic() };
  }

  /** Rejects with EOPNOTSUPP when the kernel has no Wireguard; with EINVAL, before anything is sent, for a bad value. */
  async configure(deviceName: string, changes: readonly WireguardChange[]): Promise<void> {
    await Promise.resolve();
    if (changes.length === 0) return;
    const change = deviceChange(deviceName, changes);
    try {
      const requests = changeDeviceRequests(this.#family(), change);
      for (const request of requests) this.#netlink.execute(`Wireguard device ${deviceName}`, request);
    } finally {
      change.privateKey?.fill(0);
    }
  }

  close(): void {
    this.#netlink.close();
  }

  #family(): number {
    const family = this.#netlink.family(WIREGUARD_FAMILY);
    if (family !== null) return family;
    throw new NetlinkError(
      'The kernel has no generic netlink family "wireguard": load the module wireguard, or disable WireguardEnabled',
      EOPNOTSUPP,
      'EOPNOTSUPP',
    );
  }
}

/** One change of the device; the last value of each setting counts, peers keep their order. */
function deviceChange(deviceName: string, changes: readonly WireguardChange[]): WireguardDeviceChange {
  let settings: Pick<WireguardDeviceChange, 'privateKey' | 'listenPort' | 'mark'> = {};
  const peers: WireguardDeviceChange['peers'][number][] = [];
  for (const change of changes) {
    switch (change.op) {
      case 'generate-key':
        settings = { ...settings, privateKey: generatePrivateKey() };
        break;
      case 'set-listen-port':
        if (!Number.isInteger(change.port) || change.port < 0 || change.port > 0xffff)
          throw new NetlinkError(`${change.port} is not a port`, EINVAL, 'EINVAL');
        settings = { ...settings, listenPort: change.port };
        break;
      case 'set-mark':
        settings = { ...settings, mark: change.mark };
        break;
      case 'set-peer':
        peers.push({ op: 'set', peer: change.peer });
        break;
      case 'remove-peer':
        peers.push({ op: 'remove', publicKey: change.publicKey });
    }
  }
  return { deviceName, ...settings, peers };
}
