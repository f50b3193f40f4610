// What a route table knows of interfaces: name, index, up or not, and since when each has been seen.
import type { InterfaceStateEvent } from '../model/interface.js';
import type { KernelLink } from './route-kernel.js';

/** An interface that exists. */
export interface KnownInterface {
  readonly ifindex: number;
  readonly isUp: boolean;
}

interface Grace {
  readonly firstSeenMs: number;
  ended: boolean;
}

/** Interfaces by name, with their grace periods by index (a re-created interface starts a new one). */
export class InterfaceTable {
  readonly #byName = new Map<string, KnownInterface>();
  readonly #graceByIndex = new Map<number, Grace>();
  readonly #gracePeriodMs: number;

  constructor(gracePeriodMs: number) {
    this.#gracePeriodMs = gracePeriodMs;
  }

  get(name: string): KnownInterface | undefined {
    return this.#byName.get(name);
  }

  get size(): number {
    return this.#byName.size;
  }

  /** Takes a state in. Returns whether anything is new. */
  set(event: InterfaceStateEvent, nowMs: number): boolean {
    const old = this.#byName.get(event.name);
    if (event.state === 'absent') {
      if (old === undefined) return false;
      this.#byName.delete(event.name);
      this.#graceByIndex.delete(old.ifindex);
      return true;
    }
    const isUp = event.state === 'up';
    if (old !== undefined && old.ifindex === event.ifindex && old.isUp === isUp) return false;
    if (old !== undefined && old.ifindex !== event.ifindex) this.#graceByIndex.delete(old.ifindex);
    if (!this.#graceByIndex.has(event.ifindex)) {
      this.#graceByIndex.set(event.ifindex, { firstSeenMs: nowMs, ended: false });
    }
    this.#byName.set(event.name, { ifindex: event.ifindex, isUp });
    return true;
  }

  /** The events that lead from what is known to a full listing: removals first, so that a renamed index is free. */
  eventsFor(links: readonly KernelLink[]): InterfaceStateEvent[] {
    const listed = new Map(links.map((link) => [link.name, link]));
    const events: InterfaceStateEvent[] = [];
    for (const [name, known] of this.#byName) {
      if (listed.get(name)?.ifindex !== known.ifindex) events.push({ name, state: 'absent', ifindex: 0 });
    }
    for (const link of links) {
      const known = this.#byName.get(link.name);
      if (known?.ifindex === link.ifindex && known.isUp === link.isRunning) continue;
      events.push({ name: link.name, state: link.isRunning ? 'up' : 'down', ifindex: link.ifindex });
    }
    return events;
  }

  /** A route is wanted on the interface: whatever else is there is now judged at once. */
  endGrace(ifindex: number): void {
    const grace = this.#graceByIndex.get(ifindex);
    if (grace !== undefined) grace.ended = true;
  }

  /** Milliseconds for which unknown routes on the interface are still left alone; 0 = no longer. */
  graceLeftMs(ifindex: number, nowMs: number): number {
    const grace = this.#graceByIndex.get(ifindex);
    if (grace === undefined || grace.ended) return 0;
    return Math.max(0, grace.firstSeenMs + this.#gracePeriodMs - nowMs);
  }
}
