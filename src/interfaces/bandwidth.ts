// Shapes the traffic of workload interfaces with token buckets (dataplane.md 2.10): toward the pod on its own interface,
// from the pod on an ifb device that all it sends is redirected to. Once for both families.
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { OperationObserver } from '../model/operation.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { BandwidthLimit, InterfaceBandwidth } from './interface-settings.js';
import type { ListedLink, ListedTrafficControl, TokenBucket, TrafficKernel, TrafficOperation } from './link-kernel.js';
import { IFB_PREFIX, ifbNameFor, sameTokenBucket, tokenBucketFor } from './token-bucket.js';

interface Limits {
  readonly ingress: BandwidthLimit | null;
  readonly egress: BandwidthLimit | null;
}

/** From so many interfaces on, one listing of all is cheaper than one of each. */
const FULL_LISTING_FROM = 64;

/** Devices of the CNI bandwidth plugin, which would shape a second time. */
const CNI_IFB_PREFIX = 'bwp';

const NO_LIMITS: Limits = { ingress: null, egress: null };

/** What an interface has; its ifb device and that device's filter included. */
interface Actual {
  readonly own: ListedTrafficControl;
  readonly ifb: { readonly tbf: TokenBucket | null; readonly mtu: number } | null;
}

/** What an interface should have. */
export interface WantedShaping {
  readonly ingress: TokenBucket | null;
  readonly egress: TokenBucket | null;
  readonly mtu: number;
}

/** The operations that lead from what an interface has to what it should have, in order. Pure. */
export function planShaping(interfaceName: string, wanted: WantedShaping, actual: Actual): TrafficOperation[] {
  const operations: TrafficOperation[] = [];
  if (!sameTokenBucket(wanted.ingress, actual.own.tbf)) {
    operations.push(
      wanted.ingress === null
        ? { op: 'delete-tbf', interfaceName }
        : { op: 'replace-tbf', interfaceName, tbf: wanted.ingress },
    );
  }
  if (wanted.egress === null && actual.ifb === null && !actual.own.hasIngress) return operations;
  const ifbName = ifbNameFor(interfaceName);
  const ours = actual.ifb !== null || actual.own.redirects.some((name) => name.startsWith(IFB_PREFIX));
  if (wanted.egress === null) {
    if (actual.ifb !== null) operations.push({ op: 'delete-link', name: ifbName });
    if (ours && actual.own.hasIngress) operations.push({ op: 'delete-ingress', interfaceName });
    return operations;
  }
  if (actual.ifb === null) {
    operations.push(
      { op: 'add-link', link: { kind: 'ifb', name: ifbName, mtu: wanted.mtu } },
      { op: 'set-link-up', name: ifbName },
    );
  }
  const redirected = actual.own.redirects.length === 1 && actual.own.redirects[0] === ifbName;
  if (!actual.own.hasIngress) operations.push({ op: 'add-ingress', interfaceName });
  if (!redirected || actual.ifb === null) {
    if (actual.own.redirects.length > 0) operations.push({ op: 'delete-filters', interfaceName });
    for (const name of actual.own.redirects) {
      const stale = name.startsWith(CNI_IFB_PREFIX) || name.startsWith(IFB_PREFIX);
      if (stale && name !== ifbName) operations.push({ op: 'delete-link', name });
    }
    // The bucket first: nothing passes unshaped through a device that has none yet.
    operations.push({ op: 'replace-tbf', interfaceName: ifbName, tbf: wanted.egress });
    operations.push({ op: 'add-redirect', interfaceName, target: ifbName });
  } else if (!sameTokenBucket(wanted.egress, actual.ifb.tbf)) {
    operations.push({ op: 'replace-tbf', interfaceName: ifbName, tbf: wanted.egress });
  }
  return operations;
}

/** Limits by interface. An apply looks only at interfaces whose limits, or whose own state, changed. */
export class BandwidthReconciler implements InterfaceBandwidth, Reconciler {
  readonly name = 'bandwidth';
  readonly #kernel: TrafficKernel;
  readonly #logger: Logger;
  readonly #observe: OperationObserver;
  readonly #wanted = new Map<string, Limits>();
  /** Interfaces that are known to have no shaping. */
  readonly #plain = new Set<string>();
  readonly #dirty = new Set<string>();
  #strayDevicesSought = false;

  constructor(options: {
    readonly kernel: TrafficKernel;
    readonly logger: Logger;
    readonly observe: OperationObserver;
  }) {
    this.#kernel = options.kernel;
    this.#logger = options.logger;
    this.#observe = options.observe;
  }

  setLimits(interfaceName: string, ingress: BandwidthLimit | null, egress: BandwidthLimit | null): void {
    this.#wanted.set(interfaceName, { ingress, egress });
    if (ingress === null && egress === null && this.#plain.has(interfaceName)) return;
    this.#plain.delete(interfaceName);
    this.#dirty.add(interfaceName);
  }

  forget(interfaceName: string): void {
    this.#wanted.delete(interfaceName);
    if (!this.#plain.delete(interfaceName)) this.#dirty.add(interfaceName);
  }

  /** A re-created interface has lost what was set on it. */
  onInterfaceState(event: InterfaceStateEvent): void {
    const limits = this.#wanted.get(event.name);
    if (limits === undefined) return;
    if (event.state === 'absent') this.#plain.delete(event.name);
    else if (limits.ingress !== null || limits.egress !== null) this.#dirty.add(event.name);
  }

  queueResync(): void {
    for (const [name, { ingress, egress }] of this.#wanted) {
      if (ingress !== null || egress !== null) this.#dirty.add(name);
    }
  }

  async apply(): Promise<ApplyResult> {
    if (this.#dirty.size === 0 && this.#strayDevicesSought) return { refused: [], operations: 0 };
    const names = [...this.#dirty];
    try {
      return await this.#reconcile();
    } catch (error) {
      for (const name of names) this.#dirty.add(name);
      this.#logger.warn('Bandwidth limits could not be set, will try again', { error: errorMessage(error) });
      return { refused: [], operations: 0, failed: true };
    }
  }

  async #reconcile(): Promise<ApplyResult> {
    const names = [...this.#dirty];
    // What is heard from here on is newer than the listing, and is seen to by the next apply.
    this.#dirty.clear();
    const isFew = this.#strayDevicesSought && names.length < FULL_LISTING_FROM;
    const listedLinks = await this.#kernel.listLinks(isFew ? [...names, ...names.map(ifbNameFor)] : undefined);
    const links = new Map(listedLinks.map((link) => [link.name, link]));
    const ifbs = new Map(
      listedLinks.filter(({ name }) => name.startsWith(IFB_PREFIX)).map((link) => [link.name, link]),
    );
    const present = names.filter((name) => links.has(name));
    const devices = ifbs.size === 0 ? [] : present.map(ifbNameFor).filter((name) => ifbs.has(name));
    const listed = await this.#kernel.listTrafficControl([...present, ...devices]);
    const control = new Map(listed.map((entry) => [entry.interfaceName, entry]));
    const operations: TrafficOperation[] = this.#planStrayDevices(links, ifbs);
    const faulty = new Set<string>();
    for (const name of names) {
      const plan = this.#plan(name, links.get(name), ifbs, control);
      if (plan === null) faulty.add(name);
      else operations.push(...plan);
    }
    const failed = await this.#carryOut(operations);
    this.#strayDevicesSought = true;
    for (const name of names) {
      const { ingress, egress } = this.#wanted.get(name) ?? NO_LIMITS;
      const isPlain = ingress === null && egress === null && !failed && !this.#dirty.has(name);
      if (isPlain && this.#wanted.has(name)) this.#plain.add(name);
      if (failed && !faulty.has(name)) this.#dirty.add(name);
    }
    return { refused: [], operations: operations.length, ...(failed ? { failed } : {}) };
  }

  /** Null when the limits make no sense: then what is there is left as it is. */
  #plan(
    name: string,
    link: ListedLink | undefined,
    ifbs: ReadonlyMap<string, ListedLink>,
    control: ReadonlyMap<string, ListedTrafficControl>,
  ): TrafficOperation[] | null {
    // A name is a digest: it is made only where there is anything that could have it.
    const ifb = ifbs.size === 0 ? undefined : ifbs.get(ifbNameFor(name));
    if (link === undefined) {
      // Gone with all that was on it; only its device is left behind.
      return ifb === undefined ? [] : [{ op: 'delete-link', name: ifb.name }];
    }
    const limits = this.#wanted.get(name) ?? NO_LIMITS;
    const ingress = limits.ingress === null ? null : tokenBucketFor(limits.ingress, link.mtu);
    const egress = limits.egress === null ? null : tokenBucketFor(limits.egress, link.mtu);
    for (const bucket of [ingress, egress]) {
      if (bucket !== null && 'fault' in bucket) {
        this.#logger.error('Bandwidth limit makes no sense, left unset', { interface: name, reason: bucket.fault });
        return null;
      }
    }
    if ((ingress !== null && 'fault' in ingress) || (egress !== null && 'fault' in egress)) return null;
    return planShaping(
      name,
      { ingress, egress, mtu: link.mtu },
      {
        own: control.get(name) ?? { interfaceName: name, tbf: null, hasIngress: false, redirects: [] },
        ifb: ifb === undefined ? null : { tbf: control.get(ifb.name)?.tbf ?? null, mtu: ifb.mtu },
      },
    );
  }

  /** Once after start: devices whose interface went while we were away. */
  #planStrayDevices(links: ReadonlyMap<string, ListedLink>, ifbs: ReadonlyMap<string, ListedLink>): TrafficOperation[] {
    if (this.#strayDevicesSought || ifbs.size === 0) return [];
    const wanted = new Set([...this.#wanted.keys(), ...links.keys()].map(ifbNameFor));
    return [...ifbs.values()]
      .filter((link) => link.kind === 'ifb' && !wanted.has(link.name))
      .map((link) => ({ op: 'delete-link', name: link.name }));
  }

  async #carryOut(operations: readonly TrafficOperation[]): Promise<boolean> {
    if (operations.length === 0) return false;
    const failures = await this.#kernel.apply(operations);
    let failed = false;
    for (const [index, operation] of operations.entries()) {
      const failure = failures[index] ?? null;
      const object =
        'link' in operation ? operation.link.name : 'name' in operation ? operation.name : operation.interfaceName;
      const isFine =
        failure === null ||
        (operation.op.startsWith('delete') && ['missing', 'interface-missing'].includes(failure.reason)) ||
        (operation.op === 'add-link' && failure.reason === 'exists');
      if (failure === null) this.#observe({ room: 'interfaces', verb: operation.op, object });
      if (isFine) continue;
      failed = true;
      this.#logger.warn('Bandwidth limit: an operation failed', {
        operation: operation.op,
        interface: object,
        error: failure.message,
      });
    }
    return failed;
  }
}
