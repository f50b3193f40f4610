// Holds bad news of an interface back for a moment, so that a flap is not taken for a loss (dataplane.md 2.8; Felix:
// `ifacemonitor.FilterUpdates`). Good news waits only behind bad news of the same interface: order is kept.
import type { Clock, Timer } from '../base/clock.js';
import type { LinkEvent } from './link-events.js';

/** News of one interface. */
export type InterfaceNews = Exclude<LinkEvent, { kind: 'lost' }>;

/** Felix: `ifacemonitor.FlapDampingDelay`. */
const DAMPING_MS = 100;

interface QueuedNews {
  readonly readyAtMs: number;
  readonly news: InterfaceNews;
}

function isBad(news: InterfaceNews): boolean {
  switch (news.kind) {
    case 'link':
      return !news.isRunning;
    case 'link-gone':
      return true;
    case 'address':
      return news.isGone;
  }
}

/** Queues by interface index. `deliver` is called in order within one interface. */
export class FlapDamper {
  readonly #clock: Clock;
  readonly #deliver: (ifindex: number, news: InterfaceNews) => void;
  readonly #queues = new Map<number, QueuedNews[]>();
  /** Never later than the earliest news that waits. */
  #timer: { readonly dueMs: number; readonly timer: Timer } | null = null;

  constructor(clock: Clock, deliver: (ifindex: number, news: InterfaceNews) => void) {
    this.#clock = clock;
    this.#deliver = deliver;
  }

  push(ifindex: number, news: InterfaceNews): void {
    const bad = isBad(news);
    const queue = this.#queues.get(ifindex) ?? [];
    if (!bad && queue.length === 0) {
      this.#deliver(ifindex, news);
      return;
    }
    // A later word on the same address makes the earlier one void: gone and back within the delay is no news at all.
    const kept = queue.filter(
      (item) => news.kind !== 'address' || item.news.kind !== 'address' || item.news.dst !== news.dst,
    );
    const nowMs = this.#clock.nowMs();
    kept.push({ readyAtMs: bad ? nowMs + DAMPING_MS : nowMs, news });
    this.#drain(ifindex, kept, nowMs);
  }

  /**
   * A listing is newer than what waits for these interfaces: states are delivered now, so that a flap is still told,
   * and news of addresses are dropped.
   */
  flush(isOlder: (ifindex: number) => boolean): void {
    for (const [ifindex, queue] of [...this.#queues]) {
      if (!isOlder(ifindex)) continue;
      this.#queues.delete(ifindex);
      for (const { news } of queue) if (news.kind !== 'address') this.#deliver(ifindex, news);
    }
  }

  stop(): void {
    this.#timer?.timer.cancel();
    this.#queues.clear();
  }

  /** Delivers what is ready of one interface, and sees to it that the rest will be. */
  #drain(ifindex: number, queue: readonly QueuedNews[], nowMs: number): void {
    const waits = queue.findIndex((item) => item.readyAtMs > nowMs);
    const ready = waits < 0 ? queue : queue.slice(0, waits);
    const left = waits < 0 ? [] : queue.slice(waits);
    if (left.length === 0) this.#queues.delete(ifindex);
    else this.#queues.set(ifindex, left);
    for (const item of ready) this.#deliver(ifindex, item.news);
    if (left[0] !== undefined) this.#arm(left[0].readyAtMs);
  }

  #arm(dueMs: number): void {
    if (this.#timer !== null && this.#timer.dueMs <= dueMs) return;
    this.#timer?.timer.cancel();
    const timer = this.#clock.setTimer(dueMs - this.#clock.nowMs(), () => {
      this.#timer = null;
      const nowMs = this.#clock.nowMs();
      for (const [ifindex, queue] of [...this.#queues]) this.#drain(ifindex, queue, nowMs);
    });
    this.#timer = { dueMs, timer };
  }
}
