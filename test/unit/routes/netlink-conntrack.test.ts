import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { ConntrackCleaner } from '../../../src/routes/conntrack-cleaner.js';
import { type FlowDeletion, NetlinkConntrackCleaner } from '../../../src/routes/netlink-conntrack.js';

interface Call {
  readonly family: number;
  readonly addresses: readonly string[];
  end(error?: Error): void;
}

function create() {
  const calls: Call[] = [];
  const cleaned: string[] = [];
  const byTool: string[] = [];
  const flows: FlowDeletion = {
    deleteFlows: (family, addresses) =>
      new Promise((resolve, reject) => {
        const end = (error?: Error): void => (error === undefined ? resolve() : reject(error));
        calls.push({ family, addresses: [...addresses], end });
      }),
  };
  const tools: ConntrackCleaner = {
    clean: (family, address) => {
      byTool.push(`${family} ${address}`);
      return Promise.resolve();
    },
  };
  const observe = ({ object }: { object: string }): void => void cleaned.push(object);
  return {
    calls,
    cleaned,
    byTool,
    cleaner: new NetlinkConntrackCleaner({ flows, tools, logger: silentLogger, observe }),
  };
}

/** Lets all that can go on without a timer go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

describe('NetlinkConntrackCleaner', () => {
  it('serves all that are asked for at once by one listing a family, one after the other', async () => {
    const { calls, cleaned, cleaner } = create();
    const done = [cleaner.clean(6, 'fd00::2'), cleaner.clean(4, '10.0.0.2'), cleaner.clean(4, '10.0.0.3')];
    await settle();
    expect(calls.map(({ family, addresses }) => [family, addresses])).toEqual([[4, ['10.0.0.2', '10.0.0.3']]]);
    calls[0]?.end();
    await settle();
    expect(calls.map(({ family, addresses }) => [family, addresses]).slice(1)).toEqual([[6, ['fd00::2']]]);
    calls[1]?.end();
    await Promise.all(done);
    expect(cleaned).toEqual(['10.0.0.2', '10.0.0.3', 'fd00::2']);
  });

  it('lists again for what is asked for while a listing is under way, the same address too', async () => {
    const { calls, cleaner } = create();
    let isDone = false;
    const first = cleaner.clean(4, '10.0.0.2');
    await settle();
    const second = cleaner.clean(4, '10.0.0.2').then(() => {
      isDone = true;
    });
    calls[0]?.end();
    await first;
    await settle();
    expect(isDone).toBe(false);
    expect(calls).toHaveLength(2);
    calls[1]?.end();
    await second;
    const third = cleaner.clean(4, '10.0.0.4');
    await settle();
    calls[2]?.end();
    await third;
  });

  it('leaves to the tool what netlink cannot do, and what is no address', async () => {
    const { byTool, calls, cleaned, cleaner } = create();
    const done = [cleaner.clean(4, '10.0.0.2'), cleaner.clean(4, '--flush')];
    await settle();
    calls[0]?.end(new Error('no such protocol'));
    await Promise.all(done);
    expect(byTool).toEqual(['4 --flush', '4 10.0.0.2']);
    expect(cleaned).toEqual([]);
  });
});
