// Keeps tunnel devices as they are wanted: created, configured, up, and looked after every ten seconds (dataplane.md 6.4
// to 6.6).
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { CommandRunner } from '../kernel/command.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import { carryOut, type WriteContext } from './kernel-writes.js';
import type { TunnelDevice, TunnelDevices } from './route-table.js';
import { planTunnelDevice, vxlanIncompatibility } from './tunnel-plan.js';

/** Felix looks after its devices this often. */
const CHECK_INTERVAL_MS = 10_000;
/** After a failure. A kernel without the device type is asked only at the usual interval. */
const RETRY_INTERVAL_MS = 1_000;

/** What the reconciler is made with. */
export interface TunnelDevicesOptions extends WriteContext {
  readonly clock: Clock;
  /** Runs `ethtool` on kernels whose checksum offload of vxlan devices is broken; null on all others. */
  readonly checksumOffloadFix: CommandRunner | null;
}

/** Devices by name. A failure never fails the apply: everything else goes on (6.6). */
export class TunnelDevicesReconciler implements TunnelDevices, Reconciler {
  readonly name = 'tunnel-devices';
  readonly #options: TunnelDevicesOptions;
  readonly #wanted = new Map<string, TunnelDevice | null>();
  /** Failures that were logged, by device: the same words are not said twice. */
  readonly #complaints = new Map<string, string>();
  #nextCheckMs = Number.POSITIVE_INFINITY;
  #isDirty = false;

  constructor(options: TunnelDevicesOptions) {
    this.#options = options;
  }

  setDevice(name: string, device: TunnelDevice | null): void {
    if (this.#wanted.has(name) && JSON.stringify(this.#wanted.get(name)) === JSON.stringify(device)) return;
    this.#wanted.set(name, device);
    this.#isDirty = true;
  }

  /** Somebody changed a device of ours, or the one below it. */
  onInterfaceState(event: InterfaceStateEvent): void {
    for (const [name, device] of this.#wanted) {
      if (name === event.name || (device?.kind === 'vxlan' && device.parent === event.name)) this.#isDirty = true;
    }
  }

  queueResync(): void {
    if (this.#wanted.size > 0) this.#isDirty = true;
  }

  async apply(): Promise<ApplyResult> {
    const { clock, logger } = this.#options;
    const nowMs = clock.nowMs();
    if (!this.#isDirty && nowMs < this.#nextCheckMs) return this.#result(0, nowMs);
    let operations = 0;
    let delayMs = CHECK_INTERVAL_MS;
    this.#isDirty = false;
    try {
      // Of these alone: this is done every ten seconds, and there may be thousands of others.
      const names = [...this.#wanted.keys()];
      const links = new Map((await this.#options.kernel.listLinks(names)).map((link) => [link.name, link]));
      const addresses = await this.#options.kernel.listAddresses(names);
      for (const [name, wanted] of [...this.#wanted]) {
        const link = links.get(name);
        const reason = wanted === null || link === undefined ? null : vxlanIncompatibility(wanted, link);
        if (reason !== null) logger.warn('Tunnel device does not fit and is made anew', { device: name, reason });
        const own = addresses.filter((address) => address.interfaceName === name);
        const plan = planTunnelDevice(name, wanted, link, own);
        const outcome = await carryOut(this.#options, plan);
        operations += outcome.operations;
        const [failure] = outcome.failures;
        if (failure !== undefined) {
          this.#complain(name, failure.message);
          if (failure.reason !== 'unsupported') delayMs = RETRY_INTERVAL_MS;
        } else {
          await this.#onConfigured(name, wanted, plan.length > 0);
        }
      }
    } catch (error) {
      logger.warn('Tunnel devices could not be looked after, will try again', { error: errorMessage(error) });
      delayMs = RETRY_INTERVAL_MS;
    }
    this.#nextCheckMs = this.#wanted.size === 0 ? Number.POSITIVE_INFINITY : nowMs + delayMs;
    return this.#result(operations, nowMs);
  }

  #result(operations: number, nowMs: number): ApplyResult {
    if (this.#nextCheckMs === Number.POSITIVE_INFINITY) return { refused: [], operations };
    return { refused: [], operations, rescheduleAfterMs: Math.max(1, this.#nextCheckMs - nowMs) };
  }

  async #onConfigured(name: string, wanted: TunnelDevice | null, changed: boolean): Promise<void> {
    this.#complaints.delete(name);
    // Gone for good: nobody else makes devices of these names.
    if (wanted === null) this.#wanted.delete(name);
    else if (changed) {
      this.#options.logger.info('Tunnel device configured', { device: name });
      if (wanted.kind === 'vxlan') await this.#disableChecksumOffload(name);
    }
  }

  #complain(name: string, message: string): void {
    if (this.#complaints.get(name) === message) return;
    this.#complaints.set(name, message);
    this.#options.logger.warn('Tunnel device could not be configured; all else goes on', {
      device: name,
      error: message,
    });
  }

  async #disableChecksumOffload(name: string): Promise<void> {
    const runner = this.#options.checksumOffloadFix;
    if (runner === null) return;
    const result = await runner.run({ argv: ['ethtool', '--offload', name, 'tx', 'off'] });
    if (result.exitCode === 0)
      this.#options.observe({ room: 'routes', verb: 'disable-checksum-offload', object: name });
    else this.#complain(name, `ethtool: ${result.stderr.trim()}`);
  }
}
