// Counts what a dataplane does into the series of ops.md section 4. Gauges that cost something to know are asked for at
// scrape time only.
import type { Clock } from '../base/clock.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Operation } from '../model/operation.js';
import type { Refusal } from '../model/refusal.js';
import type { ApplyOutcome } from './phases.js';

/** One process's counters; sessions come and go, counts only grow. */
export class DriverMetrics {
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #startedMs: number;
  #lastGoodApplyMs: number | null = null;
  #applies = 0;
  #measure: (() => void) | null = null;

  constructor(metrics: Metrics, clock: Clock, startedMs: number) {
    this.#metrics = metrics;
    this.#clock = clock;
    this.#startedMs = startedMs;
    metrics.set('felix_driver_start_time_seconds', (clock.wallMs() - (clock.nowMs() - startedMs)) / 1000);
    metrics.add('felix_int_dataplane_failures', 0);
    metrics.announce(
      'felix_int_dataplane_apply_time_seconds',
      'felix_int_dataplane_msg_batch_size',
      'felix_int_dataplane_iface_msg_batch_size',
      'felix_int_dataplane_addr_msg_batch_size',
    );
    metrics.set('felix_driver_in_sync', 0);
    metrics.set('felix_driver_session_connected', 0);
    metrics.beforeScrape(() => {
      this.#measure?.();
      const age = this.#lastGoodApplyMs === null ? -1 : (clock.nowMs() - this.#lastGoodApplyMs) / 1000;
      metrics.set('felix_driver_last_good_apply_age_seconds', age);
    });
  }

  /** Milliseconds since the last apply that left nothing dirty; null before the first. */
  get lastGoodApplyAgeMs(): number | null {
    return this.#lastGoodApplyMs === null ? null : this.#clock.nowMs() - this.#lastGoodApplyMs;
  }

  /** How the dataplane of now is measured at scrape time; null = it has stopped, and its last measures stay. */
  measureBy(measure: (() => void) | null): void {
    this.#measure?.();
    this.#measure = measure;
  }

  /** Interface events taken by one apply. */
  interfaceEvents(states: number, addresses: number): void {
    if (states > 0) this.#metrics.observe('felix_int_dataplane_iface_msg_batch_size', states);
    if (addresses > 0) this.#metrics.observe('felix_int_dataplane_addr_msg_batch_size', addresses);
  }

  /** Messages that the queue merged away. */
  merged(count: number): void {
    this.#metrics.add('felix_driver_messages_merged', count);
  }

  /** Parameters with a value that is not used as written. */
  configWarnings(count: number): void {
    this.#metrics.set('felix_driver_config_warnings', count);
  }

  sessionConnected(isConnected: boolean): void {
    this.#metrics.set('felix_driver_session_connected', isConnected ? 1 : 0);
    if (isConnected) this.#metrics.add('felix_driver_sessions', 1);
    if (!isConnected) this.#metrics.set('felix_driver_in_sync', 0);
  }

  /** Messages taken by one apply, by type. */
  messages(types: readonly string[]): void {
    if (types.length === 0) return;
    this.#metrics.observe('felix_int_dataplane_msg_batch_size', types.length);
    for (const type of types) this.#metrics.add('felix_int_dataplane_messages', 1, { type });
  }

  operation({ room, verb }: Operation): void {
    this.#metrics.add('felix_driver_operations', 1, { room, verb });
  }

  /** An apply ended; `durationMs` of all its phases. */
  applied(outcome: ApplyOutcome): void {
    const durationMs = Object.values(outcome.phaseMs).reduce((sum, ms) => sum + ms, 0);
    this.#applies += 1;
    if (this.#applies > 1) this.#metrics.observe('felix_int_dataplane_apply_time_seconds', durationMs / 1000);
    this.#metrics.add('felix_driver_applies', 1, { outcome: outcome.dirty ? 'incomplete' : 'clean' });
    if (outcome.dirty) this.#metrics.add('felix_int_dataplane_failures', 1);
    else this.#lastGoodApplyMs = this.#clock.nowMs();
    for (const [phase, ms] of Object.entries(outcome.phaseMs)) {
      this.#metrics.observe('felix_driver_apply_phase_seconds', ms / 1000, { phase });
    }
    this.#metrics.catchUp();
  }

  refusals(refusals: readonly Refusal[]): void {
    const counts = new Map<string, { ip_version: string; kind: string; value: number }>();
    for (const { family, kind } of refusals) {
      const key = `${family}/${kind}`;
      const count = counts.get(key) ?? { ip_version: String(family), kind, value: 0 };
      counts.set(key, { ...count, value: count.value + 1 });
    }
    this.#metrics.replace(
      'felix_driver_refusals',
      [...counts.values()].map(({ value, ...labels }) => ({ labels, value })),
    );
  }

  inSync(): void {
    this.#metrics.set('felix_driver_in_sync', 1);
    this.#metrics.set(
      'felix_int_dataplane_initial_resync_time_seconds',
      (this.#clock.nowMs() - this.#startedMs) / 1000,
    );
  }
}
