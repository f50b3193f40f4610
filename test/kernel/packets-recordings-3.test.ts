// The other recordings by real packets: what their pods may do to each other is the same in all three modes. Most are
// about something else than policy between pods, so some let everything pass.
import { afterAll, describe, expect, test } from 'vitest';
import { compareModes } from './support/packets-recording.js';

describe('the same packets in all three modes', () => {
  let tried = 0;
  afterAll(() => {
    console.log(`other recordings by packets: ${tried} verdicts compared between three modes`);
  });

  test.each([
    'cluster-routes',
    'deny-reject',
    'failsafe-custom',
    'flow-logs',
    'icmp-codes',
    'interface-flap',
    'ipip',
    'ipvs',
    'nat-interface-filter',
    'nat-options',
    'nat-outgoing',
    'pod-features',
    'pod-lifecycle',
    'vxlan',
  ])('%s: the modes agree', async (name) => {
    const report = await compareModes(name, 2);
    expect(report.passed + report.closed, 'packets sent').toBeGreaterThan(0);
    tried += report.passed + report.closed;
  });
});
