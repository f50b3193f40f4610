// Keeps the Wireguard device of one family: link, address, keys, peers, and, once all that stands, the rule that sends
// traffic to its table (dataplane.md 6.7). Disabled, it removes what an earlier run left.
import { errorMessage } from '../base/errors.js';
import type { HostFiles } from '../kernel/files.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { RouteRule } from '../model/route.js';
import { carryOut, GONE, type PlannedWrite, type WriteContext } from './kernel-writes.js';
import type { KernelAddress, KernelLink } from './route-kernel.js';
import type { RouteRules } from './route-table.js';
import type { WireguardControl, WireguardPeer, WireguardPeers } from './wireguard.js';
import { planWireguardDelta, planWireguardResync, type WireguardSettings } from './wireguard-plan.js';

/** Host traffic comes back over the device with the node's own address; this lets it pass reverse path filtering. */
const SRC_VALID_MARK = 'net/ipv4/conf/all/src_valid_mark';

/** What the reconciler is made with. */
export interface WireguardOptions extends WriteContext {
  readonly family: Family;
  readonly enabled: boolean;
  /** Null where the kernel's generic netlink cannot be spoken: then Wireguard counts as not supported. */
  readonly control: WireguardControl | null;
  readonly files: HostFiles;
  /** `/proc/sys` and `/sys/class/net`; other folders in tests. */
  readonly procSys: string;
  readonly sysClassNet: string;
  readonly deviceName: string;
  readonly mtu: number;
  readonly settings: WireguardSettings;
  readonly hostEncryption: boolean;
  readonly napiThreading: boolean;
  readonly rule: RouteRule;
  readonly rules: RouteRules;
  /** Told whenever our key is, or may be, another than the control plane has; empty = none. */
  readonly onPublicKey: (publicKey: string) => void;
}

/** One device. A failure is soft: all else goes on, and traffic is not sent to a device that does not work. */
export class WireguardReconciler implements WireguardPeers, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly #options: WireguardOptions;
  readonly #peers = new Map<string, WireguardPeer>();
  readonly #dirtyPeers = new Set<string>();
  #address: string | null = null;
  #publishedKey: string | null = null;
  #reportedKey: string | null = null;
  #linkInSync = false;
  #peersInSync = false;
  #threadingInSync = false;
  #isUnsupported = false;
  #isRemoved = false;

  constructor(options: WireguardOptions) {
    this.#options = options;
    this.family = options.family;
    this.name = `wireguard-v${options.family}`;
  }

  setPeer(peer: WireguardPeer): void {
    this.#peers.set(peer.publicKey, peer);
    this.#dirtyPeers.add(peer.publicKey);
  }

  removePeer(publicKey: string): void {
    if (this.#peers.delete(publicKey)) this.#dirtyPeers.add(publicKey);
  }

  setDeviceAddress(address: string | null): void {
    if (address === this.#address) return;
    this.#address = address;
    this.#linkInSync = false;
  }

  setPublishedKey(publicKey: string): void {
    this.#publishedKey = publicKey;
    if (publicKey !== this.#reportedKey) this.#peersInSync = false;
  }

  onInterfaceState(event: InterfaceStateEvent): void {
    if (event.name !== this.#options.deviceName) return;
    this.#linkInSync = false;
    if (event.state === 'up') this.#peersInSync = false;
  }

  queueResync(): void {
    this.#linkInSync = false;
    this.#peersInSync = false;
    this.#threadingInSync = false;
    this.#isUnsupported = false;
    this.#isRemoved = false;
  }

  async apply(): Promise<ApplyResult> {
    try {
      if (!this.#options.enabled) return await this.#remove();
      if (this.#isUnsupported) return { refused: [], operations: 0 };
      return await this.#bringUp();
    } catch (error) {
      this.#peersInSync = false;
      this.#options.logger.warn('Wireguard could not be configured, will try again', {
        device: this.#options.deviceName,
        error: errorMessage(error),
      });
      return { refused: [], operations: 0, failed: true };
    }
  }

  async #remove(): Promise<ApplyResult> {
    if (this.#isRemoved) return { refused: [], operations: 0 };
    const { kernel, deviceName, rules, logger } = this.#options;
    rules.setRules([]);
    const link = (await kernel.listLinks()).find(({ name }) => name === deviceName);
    const writes: PlannedWrite[] =
      link?.kind === 'wireguard'
        ? [{ operation: { op: 'delete-link', name: deviceName }, object: deviceName, forgiven: GONE }]
        : [];
    const outcome = await carryOut(this.#options, writes);
    const [failure] = outcome.failures;
    if (failure !== undefined) {
      logger.warn('Wireguard device could not be removed, will try again', { deviceName, error: failure.message });
      return { refused: [], operations: outcome.operations, failed: true };
    }
    this.#isRemoved = true;
    this.#report('');
    return { refused: [], operations: outcome.operations };
  }

  async #bringUp(): Promise<ApplyResult> {
    const { control, rules, rule } = this.#options;
    if (control === null) return this.#giveUp('the kernel interface of Wireguard is not available to this process');
    let operations = 0;
    if (!this.#linkInSync) {
      const link = await this.#ensureLink();
      operations += link.operations;
      if (link.unsupported !== null) return this.#giveUp(link.unsupported, operations);
      this.#linkInSync = true;
    }
    operations += await this.#ensurePeers(control);
    await this.#ensureThreading();
    rules.setRules([rule]);
    return { refused: [], operations };
  }

  /** Not an error: asked again at the next resync. The control plane learns that we have no key. */
  #giveUp(reason: string, operations = 0): ApplyResult {
    this.#options.logger.warn('Wireguard is not supported; traffic goes unencrypted', { reason });
    this.#isUnsupported = true;
    this.#report('');
    return { refused: [], operations };
  }

  #report(publicKey: string): void {
    if (this.#reportedKey === publicKey && (this.#publishedKey ?? publicKey) === publicKey) return;
    this.#reportedKey = publicKey;
    this.#options.onPublicKey(publicKey);
  }

  async #ensureLink(): Promise<{ readonly operations: number; readonly unsupported: string | null }> {
    const { kernel, deviceName, hostEncryption } = this.#options;
    if (hostEncryption && this.family === 4) await this.#writeFile(`${this.#options.procSys}/${SRC_VALID_MARK}`, '1');
    const link = (await kernel.listLinks()).find(({ name }) => name === deviceName);
    if (link !== undefined && link.kind !== 'wireguard') {
      throw new Error(`interface ${deviceName} exists but is of kind ${link.kind ?? 'none'}`);
    }
    const addresses = (await kernel.listAddresses()).filter(({ interfaceName }) => interfaceName === deviceName);
    const outcome = await carryOut(this.#options, this.#planLink(link, addresses));
    const [failure] = outcome.failures;
    if (failure === undefined) return { operations: outcome.operations, unsupported: null };
    if (failure.reason === 'unsupported') return { operations: outcome.operations, unsupported: failure.message };
    throw new Error(`${failure.write.operation.op} ${failure.write.object}: ${failure.message}`);
  }

  #planLink(link: KernelLink | undefined, addresses: readonly KernelAddress[]): PlannedWrite[] {
    const { deviceName: name, mtu } = this.#options;
    const writes: PlannedWrite[] = [];
    const push = (operation: PlannedWrite['operation'], object = name, forgiven = GONE): void => {
      writes.push({ operation, object, forgiven });
    };
    if (link === undefined) push({ op: 'add-link', link: { kind: 'wireguard', name, mtu } }, name, []);
    else if (mtu !== 0 && link.mtu !== mtu) push({ op: 'set-link-mtu', name, mtu }, name, []);
    const own = addresses.filter(({ family, address }) => family === this.family && !address.startsWith('fe80:'));
    for (const address of own) {
      if (address.address !== this.#address) push({ op: 'delete-address', address }, `${address.address} dev ${name}`);
    }
    if (this.#address !== null && !own.some(({ address }) => address === this.#address)) {
      const length = this.family === 4 ? 32 : 128;
      const address = { interfaceName: name, family: this.family, address: this.#address, length, scope: 0 };
      push({ op: 'add-address', address }, `${this.#address} dev ${name}`, ['exists']);
    }
    if (link?.isUp !== true) push({ op: 'set-link-up', name }, name, []);
    return writes;
  }

  async #ensurePeers(control: WireguardControl): Promise<number> {
    const { deviceName, settings, observe } = this.#options;
    let publicKey: string | null = null;
    let changes;
    if (this.#peersInSync) {
      changes = planWireguardDelta(this.#dirtyPeers, this.#peers, settings);
    } else {
      const state = await control.read(deviceName);
      if (state === null) {
        this.#linkInSync = false;
        throw new Error(`device ${deviceName} is gone`);
      }
      publicKey = state.publicKey;
      changes = planWireguardResync(this.#peers, state, settings);
    }
    if (changes.length > 0) {
      this.#peersInSync = false;
      await control.configure(deviceName, changes);
      for (const change of changes) observe({ room: 'routes', verb: `wireguard-${change.op}`, object: deviceName });
    }
    if (publicKey === '') publicKey = (await control.read(deviceName))?.publicKey ?? '';
    if (publicKey !== null) this.#report(publicKey);
    this.#dirtyPeers.clear();
    this.#peersInSync = true;
    return changes.length;
  }

  /** The kernel takes this setting only once the device has a peer. */
  async #ensureThreading(): Promise<void> {
    if (this.#threadingInSync || this.#peers.size === 0) return;
    const { sysClassNet, deviceName, napiThreading, logger } = this.#options;
    this.#threadingInSync = true;
    try {
      await this.#writeFile(`${sysClassNet}/${deviceName}/threaded`, napiThreading ? '1' : '0');
    } catch (error) {
      logger.warn('Threading of the Wireguard device could not be set', { deviceName, error: errorMessage(error) });
    }
  }

  async #writeFile(path: string, value: string): Promise<void> {
    if ((await this.#options.files.read(path))?.trim() === value) return;
    await this.#options.files.write(path, value);
    this.#options.observe({ room: 'routes', verb: 'write-file', object: path });
  }
}
