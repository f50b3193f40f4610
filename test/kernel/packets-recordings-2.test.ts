// The recordings' policies by real packets: after each of the last steps the same packets get the same verdict in all three modes.
import { afterAll, describe, expect, test } from 'vitest';
import { compareModes } from './support/packets-recording.js';

describe('the same packets in all three modes', () => {
  let tried = 0;
  afterAll(() => {
    console.log(`recordings by packets: ${tried} verdicts compared between three modes`);
  });

  test.each([
    ['actions-accept', 2],
    ['policy-groups', 3],
    ['churn-0', 3],
    ['ip-sets', 3],
  ] as const)('%s: the modes agree', async (name, pods) => {
    const report = await compareModes(name, pods);
    expect(report.passed, 'packets that pass').toBeGreaterThan(0);
    expect(report.closed, 'packets that do not').toBeGreaterThan(0);
    tried += report.passed + report.closed;
  });
});
