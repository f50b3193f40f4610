// Carries operations of the smaller reconcilers out and judges their failures in one way.
import type { Logger } from '../base/logger.js';
import type { OperationObserver } from '../model/operation.js';
import type { KernelFailureReason, KernelOperation, RouteKernel } from './route-kernel.js';

/** An operation, what to call it, and the failures that mean its purpose is reached all the same. */
export interface PlannedWrite {
  readonly operation: KernelOperation;
  /** Names the thing in logs and operations: `10.65.2.1 dev vxlan.calico`. */
  readonly object: string;
  readonly forgiven: readonly KernelFailureReason[];
}

/** What became of a list of writes. */
export interface WriteOutcome {
  readonly operations: number;
  /** Writes that failed, with the reason, in order. */
  readonly failures: readonly {
    readonly write: PlannedWrite;
    readonly reason: KernelFailureReason;
    readonly message: string;
  }[];
}

/** What every reconciler of this room is handed. */
export interface WriteContext {
  readonly kernel: RouteKernel;
  readonly logger: Logger;
  readonly observe: OperationObserver;
}

/** Failures that mean that something is gone already. */
export const GONE: readonly KernelFailureReason[] = ['missing', 'interface-missing'];

/** Carries the writes out in order and announces those that were done. Failures are returned, not logged. */
export async function carryOut(context: WriteContext, writes: readonly PlannedWrite[]): Promise<WriteOutcome> {
  if (writes.length === 0) return { operations: 0, failures: [] };
  const results = await context.kernel.apply(writes.map((write) => write.operation));
  const failures: WriteOutcome['failures'][number][] = [];
  let operations = 0;
  for (const [index, write] of writes.entries()) {
    const failure = results[index] ?? null;
    if (failure === null) {
      operations += 1;
      context.observe({ room: 'routes', verb: write.operation.op, object: write.object });
    } else if (!write.forgiven.includes(failure.reason)) {
      failures.push({ write, reason: failure.reason, message: failure.message });
    }
  }
  return { operations, failures };
}
