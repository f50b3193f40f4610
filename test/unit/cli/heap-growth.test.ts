// What V8 makes of it was measured (docs/performance.md): nobody can ask V8 for its limits.
import { afterEach, expect, it, vi } from 'vitest';
import { limitHeapGrowth } from '../../../src/cli/heap-growth.js';

const setFlagsFromString = vi.hoisted(() => vi.fn());
vi.mock('node:v8', () => ({ setFlagsFromString }));

afterEach(() => {
  vi.unstubAllGlobals();
  setFlagsFromString.mockClear();
});

it.each([
  ['11.3.244.8-node.33', [['--heap-growing-percent=100']]],
  ['12.4.254.21-node.21', []],
])('V8 %s is told %j', (v8, told) => {
  vi.stubGlobal('process', { ...process, versions: { ...process.versions, v8 } });
  limitHeapGrowth();
  expect(setFlagsFromString.mock.calls).toEqual(told);
});
