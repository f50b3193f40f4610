// The demo: the driver enforces the recorded `pod-lifecycle` stream on two real pods. Namespaces belong to `sleep`
// processes of our own, so that it also runs under `unshare -rn`, and vanish with them.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  ActivePolicyUpdateSchema,
  RuleSchema,
  type ToDataplane,
  ToDataplaneSchema,
} from '../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording, type Mode, MODES, splitFrames } from '../test/fixtures/recording.js';
import { DriverProcess, modeParameters, waitFor, withParameters } from '../test/kernel/support/driver-process.js';
import { temporaryFolder } from '../test/kernel/support/processes.js';
import { Probe, type ProbeOutcome } from './lib/probe.js';

interface Space {
  readonly enter: readonly string[];
  readonly pid: number;
  readonly holder: ChildProcess;
}

const spaces: Space[] = [];
const folder = temporaryFolder();

async function createSpace(): Promise<Space> {
  const holder = spawn('unshare', ['-n', 'sh', '-c', 'echo ready; exec sleep 3600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve);
    holder.once('exit', () =>
      reject(new Error('No network namespace could be made: run as root, or under unshare -rn')),
    );
  });
  const pid = holder.pid ?? -1;
  const space = { enter: ['nsenter', '-t', String(pid), '-n', '--'], pid, holder };
  spaces.push(space);
  sh(space, 'ip link set lo up');
  return space;
}

function sh(space: Space, script: string): string {
  const [program = 'sh', ...rest] = [...space.enter, 'sh', '-e'];
  return execFileSync(program, rest, { input: script, encoding: 'utf8' });
}

/** Moves the far end of a workload interface into the pod and sets it up as the CNI plugin does. */
function plugIn(node: Space, pod: Space, peer: string, hostMac: string, mac: string, address: string): void {
  sh(node, `ip link set ${peer} netns ${pod.pid}`);
  sh(
    pod,
    `ip link set ${peer} name eth0 address ${mac}
     ip addr add ${address}/32 dev eth0
     ip link set eth0 up
     ip route add 169.254.1.1 dev eth0 scope link
     ip route add default via 169.254.1.1 dev eth0
     ip neigh replace 169.254.1.1 lladdr ${hostMac} dev eth0 nud permanent`,
  );
}

const SYMBOLS: Record<ProbeOutcome['result'], string> = {
  passes: 'passes',
  dropped: 'dropped',
  refused: 'refused',
  unreachable: 'no way',
};

interface Row {
  readonly label: string;
  readonly from: Probe;
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
}

async function show(title: string, rows: readonly Row[]): Promise<void> {
  console.log(`\n== ${title}`);
  const outcomes = await Promise.all(rows.map((row) => row.from.connect(row)));
  for (const [index, row] of rows.entries()) {
    console.log(`   ${row.label.padEnd(28)} ${SYMBOLS[outcomes[index]?.result ?? 'unreachable']}`);
  }
}

/** The demo's own last step: pod1 may open connections, so that the port that `allow-web` opened can be seen open. */
function allowEgressOf(frames: readonly Buffer[]): Buffer[] {
  const messages = frames.map((frame) => fromBinary(ToDataplaneSchema, frame));
  const denyAll = messages
    .map((message) => message.payload)
    .find((payload) => payload.case === 'activePolicyUpdate' && payload.value.id?.name === 'deny-all');
  if (denyAll?.case !== 'activePolicyUpdate') throw new Error('The recording has no policy deny-all');
  const update = clone(ActivePolicyUpdateSchema, denyAll.value);
  update.policy?.outboundRules.push(create(RuleSchema, { action: 'allow' }));
  const message: ToDataplane = create(ToDataplaneSchema, { payload: { case: 'activePolicyUpdate', value: update } });
  return [Buffer.from(toBinary(ToDataplaneSchema, message))];
}

async function settled(driver: DriverProcess): Promise<void> {
  // Quiet for 300 ms after the last sign of work, and in sync.
  let seen = -1;
  let since = Date.now();
  await waitFor(
    () => {
      const now = driver.logs.length + driver.received.length;
      if (now !== seen) {
        seen = now;
        since = Date.now();
      }
      return driver.inSync && Date.now() - since > 300;
    },
    () => `the driver is not in sync\n${driver.rawOutput}`,
  );
}

async function main(): Promise<void> {
  const mode = (process.argv[2] ?? 'iptables-nft') as Mode;
  if (!MODES.includes(mode)) throw new Error(`Unknown mode "${mode}", allowed are ${MODES.join(', ')}`);
  const recording = loadRecording('pod-lifecycle');
  console.log(`felix-dataplane demo: recording "${recording.name}" in mode ${mode}`);
  console.log(recording.steps.description);

  const node = await createSpace();
  const pod1 = await createSpace();
  const pod2 = await createSpace();
  sh(node, recording.hostScript);
  plugIn(node, pod1, 'pcali1', '02:00:00:00:00:02', 'ee:ee:ee:ee:ee:01', '10.65.0.2');
  plugIn(node, pod2, 'pcali2', '02:00:00:00:00:03', 'ee:ee:ee:ee:ee:02', '10.65.0.3');

  const [atNode, at1, at2] = await Promise.all([
    Probe.start(node.enter),
    Probe.start(pod1.enter),
    Probe.start(pod2.enter),
  ]);
  for (const probe of [at1, at2]) {
    for (const port of [80, 81]) await probe.listen('tcp', '0.0.0.0', port);
    await probe.listen('udp', '0.0.0.0', 53);
  }
  const rows: Row[] = [
    { label: 'pod1 -> pod2 tcp/80', from: at1, protocol: 'tcp', address: '10.65.0.3', port: 80 },
    { label: 'pod1 -> pod2 tcp/81', from: at1, protocol: 'tcp', address: '10.65.0.3', port: 81 },
    { label: 'pod1 -> pod2 udp/53', from: at1, protocol: 'udp', address: '10.65.0.3', port: 53 },
    { label: 'pod2 -> pod1 tcp/80', from: at2, protocol: 'tcp', address: '10.65.0.2', port: 80 },
    { label: 'node -> pod2 tcp/81', from: atNode, protocol: 'tcp', address: '10.65.0.3', port: 81 },
  ];

  const driver = new DriverProcess(node, {
    DATAPLANE_LOG_LEVEL: 'info',
    XTABLES_LOCKFILE: join(folder.path, 'xtables.lock'),
  });
  try {
    const frames = withParameters(splitFrames(recording.stream), modeParameters(mode));
    let sent = 0;
    for (const step of recording.steps.steps) {
      driver.send(frames.slice(sent, step.frames));
      sent = step.frames;
      await settled(driver);
      await show(`step ${step.name}`, rows);
      if (step.name === 'allow-web') {
        driver.send(allowEgressOf(frames));
        await settled(driver);
        await show('step allow-web, and pods may open connections (added by the demo)', rows);
      }
    }
    console.log('\nThe node itself always reaches its own pods; a pod without policy is open by its profile.');
  } finally {
    await driver.stop();
    await Promise.all([atNode.stop(), at1.stop(), at2.stop()]);
  }
}

try {
  await main();
} finally {
  for (const space of spaces) space.holder.kill('SIGKILL');
  folder.remove();
}
