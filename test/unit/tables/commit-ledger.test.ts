import { describe, expect, test } from 'vitest';
import { CommitLedger } from '../../../src/tables/commit-ledger.js';

function setUp() {
  const kernel = { generation: 7 };
  const ledger = new CommitLedger(() => kernel.generation);
  const commit = (): Promise<void> =>
    ledger.own(() => {
      kernel.generation += 1;
      return Promise.resolve();
    });
  return { kernel, ledger, commit };
}

/** Until the event loop has turned: within a turn the generation is asked for once. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('CommitLedger', () => {
  test('epoch stays over commits of our own, also many at once', async () => {
    const { ledger, commit } = setUp();
    const before = ledger.epoch();
    await Promise.all([commit(), commit(), commit()]);
    expect(ledger.epoch()).toBe(before);
    await commit();
    expect(ledger.epoch()).toBe(before);
  });

  test('epoch moves for a commit of somebody else before, between and during ours', async () => {
    const { kernel, ledger, commit } = setUp();
    const first = ledger.epoch();
    kernel.generation += 1;
    await turn();
    const second = ledger.epoch();
    expect(second).not.toBe(first);
    await commit();
    kernel.generation += 1;
    const third = ledger.epoch();
    expect(third).not.toBe(second);
    await ledger.own(() => {
      kernel.generation += 2;
      return Promise.resolve();
    });
    expect(ledger.epoch()).not.toBe(third);
  });

  test('epoch tells of a foreign commit only after work of ours that is under way', async () => {
    const { kernel, ledger } = setUp();
    const before = ledger.epoch();
    let finish: () => void = () => undefined;
    const work = ledger.own(() => new Promise<void>((resolve) => (finish = resolve)));
    await Promise.resolve();
    kernel.generation += 2;
    expect(ledger.epoch()).toBe(before);
    finish();
    await work;
    expect(ledger.epoch()).not.toBe(before);
  });

  test('epoch moves, and nothing fails, while the kernel does not tell its generation', async () => {
    let isMute = false;
    const kernel = { generation: 7 };
    const ledger = new CommitLedger(() => {
      if (isMute) throw new Error('ENOBUFS');
      return kernel.generation;
    });
    const before = ledger.epoch();
    await turn();
    isMute = true;
    const mute = ledger.epoch();
    expect(mute).not.toBe(before);
    expect(await ledger.own(() => Promise.resolve('done'))).toBe('done');
    kernel.generation += 1;
    isMute = false;
    const again = ledger.epoch();
    expect(again).not.toBe(mute);
    expect(ledger.epoch()).toBe(again);
  });

  test('epoch asks the kernel once a turn, and misses no commit of others for it', async () => {
    const kernel = { generation: 7, asked: 0 };
    const ledger = new CommitLedger(() => {
      kernel.asked += 1;
      return kernel.generation;
    });
    const before = ledger.epoch();
    expect([ledger.epoch(), ledger.epoch()]).toEqual([before, before]);
    expect(kernel.asked).toBe(1);
    // In the very turn, between the question and our own commit.
    kernel.generation += 1;
    await ledger.own(() => {
      kernel.generation += 1;
      return Promise.resolve();
    });
    expect(ledger.epoch()).not.toBe(before);
  });

  test('own lets short scripts follow each other and long ones overlap', async () => {
    const { ledger } = setUp();
    const trace: string[] = [];
    const work = (name: string) => async (): Promise<void> => {
      trace.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      trace.push(`${name} ends`);
    };
    await Promise.all([ledger.own(work('a'), 10), ledger.own(work('b'), 10)]);
    expect(trace).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
    trace.length = 0;
    await Promise.all([ledger.own(work('a'), 1e6), ledger.own(work('b'), 1e6)]);
    expect(trace).toEqual(['a begins', 'b begins', 'a ends', 'b ends']);
  });

  test('epoch moves after failed work, which may have committed, and after work that did not commit', async () => {
    const { ledger } = setUp();
    const before = ledger.epoch();
    await expect(ledger.own(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    const after = ledger.epoch();
    expect(after).not.toBe(before);
    await ledger.own(() => Promise.resolve());
    expect(ledger.epoch()).not.toBe(after);
  });
});
