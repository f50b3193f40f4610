// Waits for the kernel of a namespace to be what a recording says, whoever drives the driver.
import { expect } from 'vitest';
import type { FromDataplane } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { Mode } from '../../fixtures/recording.js';
import { waitFor, PATIENCE_MS } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
import type { Namespace } from './namespace.js';
import { statusText } from './status.js';

/** Where to look. */
export interface KernelPlace {
  readonly namespace: Namespace;
  readonly mode: Mode;
  /** What the control plane got so far; without it statuses are not compared. */
  readonly received?: readonly FromDataplane[];
  /** Where the step begins in `received`. */
  readonly firstMessage?: number;
  /** Applied to what the kernel holds before it is compared. */
  readonly normalise?: (dump: KernelDump) => KernelDump;
  /** For the message of a failure. */
  describe(): string;
}

/** What the kernel of a namespace holds once two dumps in a row are the same. */
export async function quietKernel(namespace: Namespace, mode: Mode): Promise<KernelDump> {
  let last = '';
  await waitFor(
    async () => {
      const before = last;
      last = JSON.stringify(await dumpKernel(namespace, mode));
      return last === before;
    },
    () => 'the kernel does not come to rest',
  );
  return JSON.parse(last) as KernelDump;
}

/** Waits until the kernel, and the statuses where they are known, are as expected; fails with a readable diff. */
export async function expectState(place: KernelPlace, wanted: KernelDump, timeoutMs = PATIENCE_MS): Promise<void> {
  const { namespace, mode, received, firstMessage = 0, normalise = (dump) => dump } = place;
  const expected = { ...wanted };
  if (received === undefined) delete expected['status'];
  let actual: KernelDump = {};
  const differing = (): string[] =>
    Object.keys({ ...actual, ...expected }).filter((file) => (actual[file] ?? '') !== (expected[file] ?? ''));
  try {
    await waitFor(
      async () => {
        actual = normalise(await dumpKernel(namespace, mode));
        if (received !== undefined) {
          const isInSync = received.some((message) => message.payload.case === 'dataplaneInSync');
          const status = statusText(received.slice(firstMessage), isInSync);
          if (status !== '') actual['status'] = status;
        }
        return differing().length === 0;
      },
      () => 'kernel differs',
      timeoutMs,
    );
  } catch {
    const pick = (dump: KernelDump): KernelDump =>
      Object.fromEntries(differing().map((file) => [file, dump[file] ?? '']));
    expect(pick(actual), place.describe()).toEqual(pick(expected));
  }
}
