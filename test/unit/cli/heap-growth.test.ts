// What V8 makes of it was measured (docs/performance.md): nobody can ask V8 for its limits.
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { limitHeapGrowth } from '../../../src/cli/heap-growth.js';

it.each([
  ['11.3.244.8-node.33', ['--heap-growing-percent=100']],
  ['12.4.254.21-node.21', []],
])('V8 %s is told %j', (v8, told) => {
  const flags: string[] = [];
  limitHeapGrowth(v8, (flag) => flags.push(flag));
  expect(flags).toEqual(told);
});

it('this V8 has the flag: of an unknown one it says so on stderr, and goes on', () => {
  expect(execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })).toContain('--heap-growing-percent');
});
