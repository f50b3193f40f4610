// The contract between the apply loop and everything that writes to the kernel.
import type { Refusal } from './refusal.js';

/** What one apply of a reconciler did. */
export interface ApplyResult {
  /** Run again no later than this; absent = no wish. */
  readonly rescheduleAfterMs?: number;
  /** Everything that is closed instead of programmed right now (not only what is new). */
  readonly refused: readonly Refusal[];
  /** Number of operations carried out; 0 on a restart over an unchanged kernel. */
  readonly operations: number;
  /** A soft failure: something is still dirty and has been logged; the loop tries again (4.1). */
  readonly failed?: boolean;
}

/** A part of the dataplane that brings the kernel to the desired state. */
export interface Reconciler {
  readonly name: string;
  /** Forget what is known of the kernel; the next apply reads it again. */
  queueResync(): void;
  /**
   * Plans and writes. Rejects only where the dataplane must not go on (a table that cannot be written by the
   * documented limit); then nothing of this apply may be assumed. Never called twice at once.
   */
  apply(): Promise<ApplyResult>;
}
