// Memory whose pages are given back: the kernel fills them with zeroes when they are used again.
import { expect, test } from 'vitest';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';

const PAGE = 4096;

test('trim leaves what is in use as it is', () => {
  const { library, reason } = loadNativeLibrary();
  if (library === null) throw new Error(reason);
  const kept = Array.from({ length: 500 }, (_, index) => Buffer.alloc(1000, index));
  library.trim();
  expect(kept.every((buffer, index) => buffer.every((byte) => byte === (index & 255)))).toBe(true);
});

test('discard gives back the whole pages of a buffer, nothing around it, and the buffer can be used again', () => {
  const { library, reason } = loadNativeLibrary();
  if (library === null) throw new Error(reason);
  const all = Buffer.from(new ArrayBuffer(4 * 1024 * 1024)).fill(1);
  const part = all.subarray(100, all.length - 100);
  library.discard(part);
  expect(all.subarray(0, 100).every((byte) => byte === 1)).toBe(true);
  expect(all.subarray(all.length - 100).every((byte) => byte === 1)).toBe(true);
  const left = part.reduce((sum, byte) => sum + byte, 0);
  expect(left, 'of two pages at most a part is left').toBeLessThan(2 * PAGE);
  part.fill(2);
  expect(part.every((byte) => byte === 2)).toBe(true);
  library.discard(Buffer.alloc(10));
});
