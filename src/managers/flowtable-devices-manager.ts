// Says which devices are in the flowtable of one family: established flows between them skip the rules
// (dataplane.md 5.6).
import { isPlainEqual } from '../base/plain-equal.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import { workloadEndpointKey } from './endpoint-keys.js';
import { interfaceNameProblem } from './interface-name.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** Where the devices are handed to: the nftables plane of the family. */
export interface Flowtable {
  setFlowtable(devices: ReadonlySet<string> | null): void;
}

/** What the manager is built from. It is built only for nftables with flow offload on, and a kernel that can do it. */
export interface FlowtableDevicesManagerOptions {
  readonly family: Family;
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly flowtable: Flowtable;
}

function overlayDevices({ family, config, environment }: FlowtableDevicesManagerOptions): string[] {
  const candidates: readonly (readonly [boolean, string])[] =
    family === 4
      ? [
          [environment.vxlanEnabled, 'vxlan.calico'],
          [environment.ipipEnabled, 'tunl0'],
          [config.wireguardEnabled, config.wireguardInterfaceName],
        ]
      : [
          [environment.vxlanEnabledV6, 'vxlan-v6.calico'],
          [config.wireguardEnabledV6, config.wireguardInterfaceNameV6],
        ];
  return candidates.filter(([isEnabled, name]) => isEnabled && name !== '').map(([, name]) => name);
}

/**
 * Interfaces that are up and belong to a workload endpoint, to an overlay, or match NFTablesFlowTableDataIfacePattern.
 * One that is not up is never named: a device that the kernel lacks would fail the whole transaction.
 */
export class FlowtableDevicesManager implements Manager {
  readonly name: string;
  readonly #flowtable: Flowtable;
  readonly #overlays: ReadonlySet<string>;
  readonly #pattern: RegExp | null;
  readonly #up = new Set<string>();
  readonly #interfaceOf = new Map<string, string>();
  /** Interface → number of endpoints that claim it. */
  readonly #claims = new Map<string, number>();
  #written: ReadonlySet<string> | null = null;
  #isDirty = true;

  constructor(options: FlowtableDevicesManagerOptions) {
    this.name = `flowtable-devices/${options.family}`;
    this.#flowtable = options.flowtable;
    this.#overlays = new Set(overlayDevices(options));
    const pattern = options.config.nftablesFlowTableDataIfacePattern;
    this.#pattern = pattern === '' ? null : new RegExp(pattern);
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'workloadEndpointUpdate') {
      const { id, endpoint } = message.value;
      if (id !== undefined && endpoint !== undefined) this.#claim(workloadEndpointKey(id), endpoint.name);
    } else if (message.case === 'workloadEndpointRemove' && message.value.id !== undefined) {
      this.#claim(workloadEndpointKey(message.value.id), null);
    }
  }

  onInterfaceState({ name, state }: InterfaceStateEvent): void {
    if (this.#up.has(name) === (state === 'up')) return;
    if (state === 'up') this.#up.add(name);
    else this.#up.delete(name);
    if (this.#isWanted(name)) this.#isDirty = true;
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const devices = new Set([...this.#up].filter((name) => this.#isWanted(name)).sort());
    if (!isPlainEqual(devices, this.#written)) this.#flowtable.setFlowtable(devices);
    this.#written = devices;
    return true;
  }

  #isWanted(name: string): boolean {
    return this.#claims.has(name) || this.#overlays.has(name) || this.#pattern?.test(name) === true;
  }

  #claim(key: string, interfaceName: string | null): void {
    const old = this.#interfaceOf.get(key) ?? null;
    const isUsable = interfaceName !== null && interfaceNameProblem(interfaceName) === null;
    const now = isUsable ? interfaceName : null;
    if (old === now) return;
    if (old !== null) this.#count(old, -1);
    if (now !== null) this.#count(now, 1);
    if (now === null) this.#interfaceOf.delete(key);
    else this.#interfaceOf.set(key, now);
    this.#isDirty = true;
  }

  #count(interfaceName: string, change: number): void {
    const count = (this.#claims.get(interfaceName) ?? 0) + change;
    if (count > 0) this.#claims.set(interfaceName, count);
    else this.#claims.delete(interfaceName);
  }
}
