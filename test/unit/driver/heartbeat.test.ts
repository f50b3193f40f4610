import { describe, expect, it } from 'vitest';
import { Heartbeat } from '../../../src/driver/heartbeat.js';
import type { FromDataplanePayload } from '../../../src/protocol/session.js';
import { FakeClock } from '../../fakes/clock.js';

function setUp() {
  const clock = new FakeClock({ wallStartMs: Date.UTC(2026, 10, 23, 12, 59, 35, 400) });
  const sent: FromDataplanePayload[] = [];
  const heartbeat = new Heartbeat(clock, clock.nowMs() - 1_500, (payload) => sent.push(payload));
  return { clock, heartbeat, sent };
}

describe('Heartbeat', () => {
  it.each([2_000, 30_000])('beats after 10 s and then every %s ms', async (intervalMs) => {
    const { clock, heartbeat, sent } = setUp();
    heartbeat.start(intervalMs);
    await clock.advance(9_999);
    expect(sent).toEqual([]);
    await clock.advance(1);
    expect(sent).toMatchObject([
      { case: 'processStatusUpdate', value: { isoTimestamp: '2026-11-23T12:59:45Z', uptime: 11.5 } },
    ]);
    await clock.advance(intervalMs - 1);
    expect(sent).toHaveLength(1);
    await clock.advance(1);
    expect(sent).toHaveLength(2);
  });

  it('says nothing without an interval, and nothing more when stopped', async () => {
    const { clock, heartbeat, sent } = setUp();
    heartbeat.start(0);
    await clock.advance(60_000);
    heartbeat.start(1_000);
    heartbeat.stop();
    await clock.advance(60_000);
    expect(sent).toEqual([]);
  });
});
