// Keeps the static ARP/NDP and FDB entries of a VXLAN device (dataplane.md 6.5; Felix: `vxlanfdb`). All permanent
// entries of the device with a MAC are ours.
import { errorMessage } from '../base/errors.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import { carryOut, GONE, type PlannedWrite, type WriteContext } from './kernel-writes.js';
import type { VxlanFdb } from './route-table.js';

/** What the reconciler of one device is made with. */
export interface VxlanFdbOptions extends WriteContext {
  readonly family: Family;
  readonly deviceName: string;
}

/** Entries of one kind: `key` → `value` (tunnel address → MAC, or MAC → node address). */
type Entries = Map<string, string>;

function differences(
  wanted: Entries,
  known: Entries,
): { readonly set: [string, string][]; readonly gone: [string, string][] } {
  return {
    set: [...wanted].filter(([key, value]) => known.get(key) !== value),
    gone: [...known].filter(([key]) => !wanted.has(key)),
  };
}

/** Wanted and known entries of one device. Nothing is done while the device is not up. */
export class VxlanFdbReconciler implements VxlanFdb, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly #options: VxlanFdbOptions;
  #wantedNeighbours: Entries = new Map();
  #wantedFdb: Entries = new Map();
  #knownNeighbours: Entries = new Map();
  #knownFdb: Entries = new Map();
  #ifindex = 0;
  #needsResync = true;
  #isDirty = true;

  constructor(options: VxlanFdbOptions) {
    this.#options = options;
    this.family = options.family;
    this.name = `vxlan-fdb-v${options.family}`;
  }

  setVteps(
    vteps: readonly { readonly mac: string; readonly tunnelAddress: string; readonly underlay: string }[],
  ): void {
    this.#wantedNeighbours = new Map(vteps.map(({ tunnelAddress, mac }) => [tunnelAddress, mac]));
    this.#wantedFdb = new Map(vteps.map(({ mac, underlay }) => [mac, underlay]));
    this.#isDirty = true;
  }

  /** A device that came up, or came anew, may have lost its entries. */
  onInterfaceState(event: InterfaceStateEvent): void {
    if (event.name !== this.#options.deviceName) return;
    this.#ifindex = event.state === 'up' ? event.ifindex : 0;
    this.#needsResync = true;
  }

  queueResync(): void {
    this.#needsResync = true;
  }

  async apply(): Promise<ApplyResult> {
    if (this.#ifindex === 0 || (!this.#needsResync && !this.#isDirty)) return { refused: [], operations: 0 };
    try {
      if (this.#needsResync) await this.#resync();
      return await this.#write();
    } catch (error) {
      this.#needsResync = true;
      this.#options.logger.warn('Entries of the VXLAN device could not be set, will try again', {
        device: this.#options.deviceName,
        error: errorMessage(error),
      });
      return { refused: [], operations: 0, failed: true };
    }
  }

  async #resync(): Promise<void> {
    const { kernel, deviceName } = this.#options;
    // Before the listing: a device that comes anew while it is listed has to be listed again.
    this.#needsResync = false;
    const neighbours = await kernel.listNeighbours(this.family, [deviceName]);
    this.#knownNeighbours = new Map(neighbours.map(({ address, mac }) => [address, mac]));
    this.#knownFdb = new Map((await kernel.listFdb(deviceName)).map(({ mac, remote }) => [mac, remote]));
    this.#isDirty = true;
  }

  async #write(): Promise<ApplyResult> {
    const outcome = await carryOut(this.#options, this.#plan());
    if (outcome.failures.length === 0) {
      this.#knownNeighbours = new Map(this.#wantedNeighbours);
      this.#knownFdb = new Map(this.#wantedFdb);
      this.#isDirty = false;
      return { refused: [], operations: outcome.operations };
    }
    this.#needsResync = true;
    const lost = outcome.failures.every(({ reason }) => reason === 'interface-missing' || reason === 'interface-down');
    // The device went while we wrote: it is heard of again.
    if (lost) this.#ifindex = 0;
    const [first] = outcome.failures;
    this.#options.logger.warn('Some entries of the VXLAN device could not be set', {
      device: this.#options.deviceName,
      count: outcome.failures.length,
      first: first?.write.object,
      error: first?.message,
    });
    return { refused: [], operations: outcome.operations, ...(lost ? {} : { failed: true }) };
  }

  /** FDB entries before the neighbours that lead to them. */
  #plan(): PlannedWrite[] {
    const { deviceName: interfaceName } = this.#options;
    const { family } = this;
    const fdb = differences(this.#wantedFdb, this.#knownFdb);
    const neighbours = differences(this.#wantedNeighbours, this.#knownNeighbours);
    return [
      ...fdb.set.map(
        ([mac, remote]): PlannedWrite => ({
          operation: { op: 'replace-fdb', entry: { interfaceName, mac, remote } },
          object: `${mac} dst ${remote} dev ${interfaceName}`,
          forgiven: [],
        }),
      ),
      ...neighbours.set.map(
        ([address, mac]): PlannedWrite => ({
          operation: { op: 'replace-neighbour', neighbour: { family, interfaceName, address, mac } },
          object: `${address} dev ${interfaceName}`,
          forgiven: [],
        }),
      ),
      ...neighbours.gone.map(
        ([address, mac]): PlannedWrite => ({
          operation: { op: 'delete-neighbour', neighbour: { family, interfaceName, address, mac } },
          object: `${address} dev ${interfaceName}`,
          forgiven: GONE,
        }),
      ),
      ...fdb.gone.map(
        ([mac, remote]): PlannedWrite => ({
          operation: { op: 'delete-fdb', entry: { interfaceName, mac, remote } },
          object: `${mac} dst ${remote} dev ${interfaceName}`,
          forgiven: GONE,
        }),
      ),
    ];
  }
}
