// At rest the driver starts nothing, reads nothing and asks the kernel nothing, but for the checks after a write, one look
// at the folder of status files each 10 s, and heartbeats. Counted by strace; processor time is only printed.
import { afterEach, describe, expect, test } from 'vitest';
import { cpuSeconds, processTree, wakeUps } from '../../bench/usage.js';
import { MODES, type Mode } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { RandomNode } from './support/random-node.js';
import { seededRandom } from './support/random.js';
import { sampleAtRest, SoakDriver } from './support/soak.js';
import { traceProcesses } from './support/system-calls.js';

const SIZE = { pods: 16, policies: 12, sets: 12, profiles: 4 };
/** Heartbeats are 5 s apart; between the first and the last of these is the time that is watched. */
const INTERVAL_S = 5;
const PARAMETERS = { ReportingIntervalSecs: String(INTERVAL_S) };
const HEARTBEATS = 3;
/** Five a second look at the event loop's delay; one collection of V8's may fall in, whose threads wake each other. */
const MOST_WAKE_UPS_A_SECOND = 60;
const TABLES = 8;
/** Tables are looked at 1, 2, 4, 8, 16 … s after the last write: three of these are within 10 s, or four at the edge. */
const MOST_CHECKS = TABLES * 4;

/** What a call is for; null for what is no business of an idle driver. */
function purposeOf(call: string, stateFolder: string): string | null {
  if (call.startsWith('<... ')) return 'begun before';
  if (/^clone3?\(/.test(call)) return call.includes('CLONE_THREAD') ? 'thread' : null;
  if (/^getsockopt\(\d+, SOL_IPV?6?, IP6?T_SO_GET_INFO/.test(call)) return 'whole legacy table';
  if (/^getsockopt\(\d+, SOL_IPV?6?, IP6?T_SO_GET_ENTRIES/.test(call)) return 'legacy entries or stamp';
  // NFT_MSG_GETGEN, and its answers.
  if (/^sendto\(\d+, \[\{nlmsg_len=20, nlmsg_type=0xa10\b/.test(call)) return 'generation';
  if (/^recvfrom\(\d+, (?:\[\{nlmsg_len=(?:48|36), nlmsg_type=(?:0xa0f|NLMSG_ERROR)\b|0x)/.test(call)) return 'answer';
  if (call.includes(`"${stateFolder}`)) return 'status files';
  if (/"\/etc(?:\/localtime)?"|"\/usr(?:\/share(?:\/zoneinfo\S*)?)?"/.test(call)) return 'time zone';
  // What V8 and libc want to know of the machine from time to time.
  if (/"\/(?:sys\/devices\/system\/cpu|sys\/fs\/cgroup|proc\/(?:self|meminfo|stat))/.test(call)) return 'runtime';
  // Of an open descriptor, which was opened by one of the above.
  if (/^(?:statx|newfstatat)\(\d+, ""/.test(call)) return 'status files';
  // Sockets for getsockopt. Open legacy tools end by their own alarm, 10 s after their last transaction.
  if (/^socket\(AF_INET6?, SOCK_RAW\|SOCK_CLOEXEC, IPPROTO_RAW\)/.test(call)) return 'legacy socket';
  if (/^(?:--- SIG(?:ALRM|CHLD)|exit_group\(0\)|exit\(0\)|\+\+\+ exited with 0|shutdown\(|wait4\()/.test(call))
    return 'end of a tool';
  return null;
}

function heartbeats(driver: SoakDriver): number {
  return driver.driver.received.filter(({ payload }) => payload.case === 'processStatusUpdate').length;
}

describe('a driver at rest', () => {
  const running: SoakDriver[] = [];

  afterEach(async () => {
    for (const driver of running.splice(0)) await driver.end();
  });

  /** From one heartbeat to the next, not traced: tracing is a wake-up itself. */
  async function countWakeUps(soak: SoakDriver, mode: Mode): Promise<void> {
    const { pid } = soak.driver;
    const from = { beats: heartbeats(soak), wakeUps: wakeUps(pid), cpu: cpuSeconds(pid) };
    await waitFor(
      () => heartbeats(soak) > from.beats,
      () => 'no heartbeat',
    );
    const count = wakeUps(pid) - from.wakeUps;
    const percent = ((cpuSeconds(pid) - from.cpu) / INTERVAL_S) * 100;
    console.log(`${mode}: ${count} wake-ups in at most ${INTERVAL_S} s, ${percent.toFixed(1)} % of a core`);
    expect(count, `${mode}: wake-ups`).toBeLessThanOrEqual(MOST_WAKE_UPS_A_SECOND * INTERVAL_S);
  }

  async function watch(mode: Mode): Promise<Record<string, number>> {
    const node = new RandomNode(SIZE, seededRandom(`idle in ${mode}`));
    const soak = await SoakDriver.start({ mode, size: SIZE, parameters: PARAMETERS }, node.snapshot());
    running.push(soak);
    const { driver } = soak;
    const seen = (count: number) => (): boolean => heartbeats(soak) >= count;
    await waitFor(seen(1), () => 'no heartbeat');
    // What belongs to the start, on a machine that is busy.
    await sampleAtRest(driver.pid, 0);
    await countWakeUps(soak, mode);
    const before = processTree(driver.pid);
    const cpu = cpuSeconds(driver.pid);
    const trace = await traceProcesses(before);
    const first = heartbeats(soak);
    await waitFor(seen(first + HEARTBEATS - 1), () => 'no more heartbeats');
    const calls = await trace.end();
    const used = cpuSeconds(driver.pid) - cpu;
    const after = processTree(driver.pid);
    const counts: Record<string, number> = {};
    for (const call of calls) {
      const purpose = purposeOf(call, driver.stateFolder) ?? `UNEXPECTED ${call}`;
      counts[purpose] = (counts[purpose] ?? 0) + 1;
    }
    console.log(`${mode}: ${used.toFixed(2)} s of processor time while traced, ${JSON.stringify(counts)}`);
    expect(
      after.filter((pid) => !before.includes(pid)),
      `${mode}: processes started`,
    ).toEqual([]);
    return counts;
  }

  test('starts no process, and asks the kernel only for what checks after a write need', async () => {
    const [legacy = {}, nft = {}, nftables = {}] = await Promise.all(MODES.map(watch));
    for (const [index, counts] of [legacy, nft, nftables].entries()) {
      const unexpected = Object.keys(counts).filter((purpose) => purpose.startsWith('UNEXPECTED'));
      expect(unexpected, MODES[index]).toEqual([]);
    }
    expect(legacy['whole legacy table'] ?? 0).toBeLessThanOrEqual(TABLES);
    expect(legacy['legacy entries or stamp'] ?? 0).toBeLessThanOrEqual(MOST_CHECKS + TABLES);
    expect(nft['whole legacy table']).toBeUndefined();
    expect(nft['legacy entries or stamp']).toBeUndefined();
    expect(nft['generation'] ?? 0).toBeLessThanOrEqual(MOST_CHECKS);
    expect(nftables['generation']).toBeUndefined();
  });
});
