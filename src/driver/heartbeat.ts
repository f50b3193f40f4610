// ProcessStatusUpdate: tells the control plane that the driver lives (dataplane.md 1.7).
import { create } from '@bufbuild/protobuf';
import type { Clock, Timer } from '../base/clock.js';
import { ProcessStatusUpdateSchema } from '../protocol/gen/felix/felixbackend_pb.js';
import type { FromDataplanePayload } from '../protocol/session.js';

/** The first one comes this late whatever the interval, as Felix's own: a driver that keeps dying does not report. */
const FIRST_AFTER_MS = 10_000;

/** RFC 3339 in UTC, whole seconds: `2026-11-23T12:59:35Z`. */
function isoTimestamp(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}

/** Sends a heartbeat after 10 s and then every `intervalMs`; an interval of 0 or less sends none. */
export class Heartbeat {
  readonly #clock: Clock;
  readonly #send: (payload: FromDataplanePayload) => void;
  readonly #startedMs: number;
  #timer: Timer | null = null;

  /** `startedMs` is the process start on the clock's `nowMs` scale. */
  constructor(clock: Clock, startedMs: number, send: (payload: FromDataplanePayload) => void) {
    this.#clock = clock;
    this.#send = send;
    this.#startedMs = startedMs;
  }

  start(intervalMs: number): void {
    this.stop();
    if (intervalMs <= 0) return;
    const beat = (): void => {
      this.#send({
        case: 'processStatusUpdate',
        value: create(ProcessStatusUpdateSchema, {
          isoTimestamp: isoTimestamp(this.#clock.wallMs()),
          uptime: (this.#clock.nowMs() - this.#startedMs) / 1000,
        }),
      });
      this.#timer = this.#clock.setTimer(intervalMs, beat);
    };
    this.#timer = this.#clock.setTimer(FIRST_AFTER_MS, beat);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
