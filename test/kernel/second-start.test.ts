// A second start over a kernel that is nearly right writes exactly the difference.
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from 'vitest';
import {
  ActivePolicyUpdateSchema,
  RuleSchema,
  ToDataplaneSchema,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording, MODES, type Mode } from '../fixtures/recording.js';
import { DriverProcess, waitFor } from './support/driver-process.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { recordingFrames } from './support/replay.js';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(namespace: Namespace, frames: readonly Buffer[]): Promise<DriverProcess> {
  const driver = new DriverProcess(namespace);
  cleanups.push(() => driver.stop());
  driver.send(frames);
  await waitFor(
    () => driver.inSync && driver.logs.some((line) => line.msg === 'Applied'),
    () => `not in sync\n${driver.rawOutput}`,
  );
  return driver;
}

/** The stream up to `allow-web`, with one more rule in the policy allow-web. */
function withChangedPolicy(frames: readonly Buffer[]): Buffer[] {
  return frames.map((frame) => {
    const message = fromBinary(ToDataplaneSchema, frame);
    if (message.payload.case !== 'activePolicyUpdate' || message.payload.value.id?.name !== 'allow-web') return frame;
    const update = clone(ActivePolicyUpdateSchema, message.payload.value);
    update.policy?.inboundRules.push(create(RuleSchema, { action: 'allow', srcNet: ['10.99.0.0/16'] }));
    message.payload = { case: 'activePolicyUpdate', value: update };
    return Buffer.from(toBinary(ToDataplaneSchema, message));
  });
}

function operations(driver: DriverProcess): string[] {
  return driver.logs
    .filter((line) => line.msg === 'Operation')
    .map((line) => `${String(line['verb'])} ${String(line['object'])}`)
    .sort();
}

const DELETED_CHAIN = 'cali-fw-cali1';

async function harm(namespace: Namespace, mode: Mode): Promise<void> {
  if (mode === 'nftables') {
    await namespace.run(['nft', 'flush', 'chain', 'ip', 'calico', `filter-${DELETED_CHAIN}`]);
    return;
  }
  const iptables = mode === 'iptables-legacy' ? 'iptables-legacy' : 'iptables-nft';
  // A chain can only be deleted when nothing refers to it.
  await namespace.shell(`
    ${iptables} -S cali-from-wl-dispatch | grep -- '-g ${DELETED_CHAIN}' | sed 's/^-A/-D/' | xargs -I{} sh -c '${iptables} {}'
    ${iptables} -F ${DELETED_CHAIN}
    ${iptables} -X ${DELETED_CHAIN}
    ${iptables} -I FORWARD 1 -s 203.0.113.9 -j ACCEPT
  `);
}

describe('a second start', () => {
  test.each(MODES)(
    'in %s writes the changed policy, the harmed chain and the moved hook, nothing else',
    async (mode) => {
      const namespace = await createNamespace('second');
      cleanups.push(() => namespace.remove());
      const recording = loadRecording('pod-lifecycle');
      await namespace.shell(recording.hostScript);
      const frames = recordingFrames(recording, mode).slice(0, recording.steps.steps[3]?.frames);
      const first = await start(namespace, frames);
      await first.stop();
      await harm(namespace, mode);
      const second = await start(namespace, withChangedPolicy(frames));
      const written = operations(second);
      const touched = (name: string): boolean => written.some((line) => line.includes(name));
      expect(written.join('\n')).toMatch(/cali-pi-/);
      expect(touched(DELETED_CHAIN)).toBe(true);
      const allowed = /cali-pi-|cali-fw-cali1|cali-from-wl-dispatch|FORWARD/;
      expect(written.filter((line) => !allowed.test(line))).toEqual([]);
      expect(written.filter((line) => /cali-FORWARD|cali-INPUT|\/6|ip6/.test(line) && !/cali-pi-/.test(line))).toEqual(
        [],
      );
      if (mode !== 'nftables') {
        const iptables = mode === 'iptables-legacy' ? 'iptables-legacy' : 'iptables-nft';
        const forward = (await namespace.run([iptables, '-S', 'FORWARD'])).split('\n');
        expect(forward[1], 'our hook stands above the foreign rule again').toContain('cali-FORWARD');
        expect(
          forward.filter((line) => line.includes('203.0.113.9')),
          'the foreign rule is kept',
        ).toHaveLength(1);
      }
    },
  );
});
