// Bulk work on tables hands the event loop back every slice, however much there is to print and compile.
import { expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { SLICE_MS, TimeSlices } from '../../../src/base/time-slices.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { KernelNftTable } from '../../../src/tables/nftables/io.js';
import { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import { compileInSlices, compileScript } from '../../../src/tables/nftables/script-compiler.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';
import { countTurns, WorkClock } from '../../fakes/slices.js';
import { ACCEPT, chain, from, jump } from './nftables-setup.js';

/** Every look takes a millisecond, so that work has a length that no machine decides. */
const LOOK_MS = 1;
const CHAINS = 2_500;

const SETS = 300;

function planeOver(io: FakeNftKernel, clock: WorkClock): NftablesPlane {
  return new NftablesPlane({
    family: 'ip',
    features: MODERN_FEATURES,
    refreshIntervalMs: 0,
    io,
    clock,
    log: silentLogger,
    onOperation: () => undefined,
    required: true,
  });
}

test('NftablesPlane.apply, 50,000 rules, pauses after each slice and writes all in one transaction', async () => {
  const clock = new WorkClock(LOOK_MS);
  const kernel = new FakeNftKernel();
  const plane = planeOver(kernel, clock);
  const filter = plane.layer('filter');
  const names = Array.from({ length: CHAINS }, (_, index) => `cali-pi-${index}`);
  const rules = Array.from({ length: 20 }, (_, index) => from(`10.0.0.${index}/32`, ACCEPT));
  for (const name of names) filter.setChain(chain(name, ...rules));
  filter.setInsertedRules('FORWARD', names.map(jump));
  const counter = countTurns();
  await plane.apply();
  counter.stop();
  // One look for each chain, a millisecond each; a look more for each pause.
  expect(clock.pauses).toBeGreaterThanOrEqual(Math.floor(CHAINS / (SLICE_MS + 1)));
  expect(counter.turns).toBeGreaterThanOrEqual(clock.pauses);
  const table: KernelNftTable | null = await kernel.listTable('ip', 'calico');
  expect([...(table?.chains.keys() ?? [])].filter((name) => name.startsWith('filter-cali-pi-'))).toHaveLength(CHAINS);
  expect(kernel.transactions).toHaveLength(1);
});

test('NftablesPlane.apply, many sets, pauses after each slice', async () => {
  const clock = new WorkClock(LOOK_MS);
  const kernel = new FakeNftKernel();
  const plane = planeOver(kernel, clock);
  const members = Array.from({ length: 20 }, (_, index) => `10.0.0.${index}/32`);
  for (let set = 0; set < SETS; set++) plane.sets.setSet({ id: `s:${set}`, type: 'hash:net', maxSize: 1_000 }, members);
  const counter = countTurns();
  await plane.apply();
  counter.stop();
  expect(clock.pauses).toBeGreaterThanOrEqual(Math.floor(SETS / (SLICE_MS + 1)));
  expect(counter.turns).toBeGreaterThanOrEqual(clock.pauses);
  expect(kernel.transactions).toHaveLength(1);
});

test('NftablesPlane.apply, many sets that are there already, pauses after each slice and writes nothing', async () => {
  const clock = new WorkClock(LOOK_MS);
  const kernel = new FakeNftKernel();
  const members = Array.from({ length: 20 }, (_, index) => `10.0.0.${index}/32`);
  const start = async (): Promise<void> => {
    const plane = planeOver(kernel, clock);
    for (let set = 0; set < SETS; set++)
      plane.sets.setSet({ id: `s:${set}`, type: 'hash:net', maxSize: 1_000 }, members);
    await plane.apply();
  };
  await start();
  const before = clock.pauses;
  const counter = countTurns();
  await start();
  counter.stop();
  expect(clock.pauses - before).toBeGreaterThanOrEqual(Math.floor(SETS / (SLICE_MS + 1)));
  expect(counter.turns).toBeGreaterThanOrEqual(clock.pauses - before);
  expect(kernel.transactions).toHaveLength(1);
});

test('compileInSlices, long script, pauses and makes the same bytes', async () => {
  const clock = new WorkClock(LOOK_MS);
  const statements = Array.from({ length: 1_000 }, (_, index) => ({
    table: 'ip calico',
    chain: `filter-cali-pi-${index}`,
    texts: ['counter accept'],
    comments: [`cali:${index}`],
  }));
  const whole = compileScript(statements, new Map());
  const sliced = await compileInSlices(statements, new Map(), new TimeSlices(clock, SLICE_MS));
  expect(clock.pauses).toBeGreaterThanOrEqual(Math.floor(statements.length / (SLICE_MS + 1)));
  expect(whole?.messages).toBe(statements.length + 2);
  expect(sliced?.bytes.equals(whole?.bytes ?? Buffer.alloc(0))).toBe(true);
});
