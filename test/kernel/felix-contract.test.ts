// What Felix and its driver owe each other (dataplane.md 0.1, ops.md section 2), for the driver that Felix starts itself
// and for the relay that it starts in front of a service.
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from './support/driver-process.js';
import { dumpKernel, type KernelDump } from './support/dump.js';
import { FakeFelix } from './support/fake-felix.js';
import { quietKernel } from './support/kernel-state.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import { namespaceYaml, podYaml, ResourceFeed, yamlFile } from './support/pod-resources.js';
import { atRest, EXECUTABLE, Program, temporaryFolder } from './support/program.js';
import { Traffic } from './support/traffic.js';

const MODE = 'nftables';
const RELAY = join(import.meta.dirname, '../../bin/felix-dataplane-relay');
const PLUGS = podPlugs(3);
const FRONT_END = 'Failed to read from front-end socket';

/** p0 lets in p1 alone. */
const POLICY = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p0, namespace: default},
  spec: {podSelector: {matchLabels: {app: p0}}, ingress: [{from: [{podSelector: {matchLabels: {app: p1}}}]}]}}`;
const RESOURCES = yamlFile(namespaceYaml('default'), ...PLUGS.map((plug) => podYaml(plug)), POLICY);
const PAIRS = [
  { from: 'p1', to: 'p0', port: 8055, passes: true },
  { from: 'p0', to: 'p2', port: 8055, passes: true },
  { from: 'p2', to: 'p0', port: 8056, passes: false },
];

let node: PacketNode;
let feed: ResourceFeed;
let folder: string;
/** The one that was started last in this test. */
let service: Program | null;
const cleanups: (() => unknown)[] = [];
const felixes: FakeFelix[] = [];

beforeEach(async () => {
  service = null;
  node = await PacketNode.create({ pods: PLUGS });
  cleanups.push(() => node.remove());
  const temporary = temporaryFolder();
  cleanups.push(() => temporary.remove());
  folder = temporary.path;
  feed = new ResourceFeed(MODE);
  feed.apply(RESOURCES);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(felixes.splice(0).flatMap((felix) => felix.faults)).toEqual([]);
});

const socket = (): string => `unix:${join(folder, 'driver.sock')}`;

async function startService(...args: string[]): Promise<Program> {
  const started = new Program(['serve', '--listen', socket(), ...args], { enter: node.namespace.enter });
  service = started;
  cleanups.push(() => started.stop());
  await started.logged('felix-dataplane serves');
  return started;
}

/** A Felix that starts `driver`, in sync. */
async function startFelix(
  driver: string,
  environment: Record<string, string> = {},
  frames = feed.restarted(),
): Promise<FakeFelix> {
  const felix = new FakeFelix({
    driver,
    enter: node.namespace.enter,
    environment: { DATAPLANE_SERVICE: socket(), ...environment },
  });
  felixes.push(felix);
  cleanups.push(() => felix.terminate());
  felix.send(frames);
  await felix.waitInSync();
  return felix;
}

/** The writes that a driver told of in the output that Felix copied, or its service since it had told of `before`. */
function writesOf(felix: FakeFelix, before: number): string[] {
  const copied = felix.output.split('\n').filter((line) => line.includes('"msg":"Operation"'));
  return [...copied, ...(service?.operations.slice(before) ?? []).map((line) => JSON.stringify(line))];
}

const quiet = (): Promise<KernelDump> => quietKernel(node.namespace, MODE);

describe.each([
  ['the driver', EXECUTABLE, []],
  ['the relay over frames', RELAY, []],
  ['the relay over gRPC', RELAY, ['--grpc']],
] as const)('Felix with %s', (_what, program, serviceOptions) => {
  const environment: Record<string, string> = serviceOptions.length === 0 ? {} : { DATAPLANE_SERVICE_GRPC: 'true' };

  async function start(): Promise<FakeFelix> {
    if (program === RELAY) await startService(...serviceOptions);
    return await startFelix(program, environment);
  }

  test('starts it bare on two pipes, gets whole frames numbered from 0 and only payloads that it knows', async () => {
    const felix = await start();
    await waitFor(
      () => felix.received.filter((message) => message.payload.case === 'workloadEndpointStatusUpdate').length >= 3,
      () => felix.output,
    );
    expect(felix.received.map((message) => message.sequenceNumber)).toEqual(
      felix.received.map((_message, index) => BigInt(index)),
    );
    const known = ['processStatusUpdate', 'workloadEndpointStatusUpdate', 'wireguardStatusUpdate'];
    const others = felix.received.map((message) => message.payload.case).filter((name) => !known.includes(name ?? ''));
    expect(others, 'DataplaneInSync is skipped by Felix with a warning').toEqual(['dataplaneInSync']);
    const statuses = felix.received.flatMap(({ payload }) =>
      payload.case === 'workloadEndpointStatusUpdate' ? [payload.value] : [],
    );
    expect(statuses.every((status) => status.endpoint !== undefined)).toBe(true);
  });

  test('is stopped by SIGTERM: it ends in time by itself and leaves the kernel as it is', async () => {
    const felix = await start();
    const before = await quiet();
    // 0, or what a program that has no handler ends with; 137 would be the SIGKILL after four seconds.
    expect([0, 143]).toContain(await felix.terminate());
    expect(await dumpKernel(node.namespace, MODE)).toEqual(before);
  });

  test('starts again with other parameters, as after exit 129: the kernel follows, and back', async () => {
    const felix = await start();
    const before = await quiet();
    await felix.terminate();
    const other = new ResourceFeed(MODE, { DefaultEndpointToHostAction: 'ACCEPT' });
    other.apply(RESOURCES);
    const changed = await startFelix(program, environment, other.restarted());
    expect(await quiet()).not.toEqual(before);
    await changed.terminate();
    const told = service?.operations.length ?? 0;
    const back = await startFelix(program, environment);
    expect(await quiet()).toEqual(before);
    const writes = writesOf(back, told);
    expect(writes.length).toBeGreaterThan(0);
    expect(writes.filter((line) => !line.includes('cali-wl-to-host'))).toEqual([]);
  });

  test('had not read all when it first sent: what comes twice before InSync ends in the same, without a write', async () => {
    const felix = await start();
    const before = await quiet();
    await felix.terminate();
    const told = service?.operations.length ?? 0;
    const next = await startFelix(program, environment, feed.restartedInPieces());
    expect(await quiet()).toEqual(before);
    expect(writesOf(next, told)).toEqual([]);
  });

  test('crashes: the end of the pipe ends it, the kernel stays', async () => {
    const felix = await start();
    const before = await quiet();
    expect(await felix.crash()).toBe(0);
    expect(await dumpKernel(node.namespace, MODE)).toEqual(before);
  });

  test('loses it to kill -9: Felix sees the end of its pipe, the next start writes nothing', async () => {
    const felix = await start();
    const before = await quiet();
    const told = service?.operations.length ?? 0;
    await felix.killDriver();
    expect(await felix.ended).toBe(FRONT_END);
    expect(await felix.driverExit).toBe(137);
    const next = await startFelix(program, environment);
    expect(await quiet()).toEqual(before);
    expect(writesOf(next, told)).toEqual([]);
  });

  test('sends what is no message: it ends, and Felix with it; the kernel stays', async () => {
    const felix = await start();
    const before = await quiet();
    felix.sendBytes(Buffer.from('0500000000000000ffffffffff', 'hex'));
    expect(await felix.ended).toBe(FRONT_END);
    expect(await dumpKernel(node.namespace, MODE)).toEqual(before);
    await startFelix(program, environment);
    expect(await quiet()).toEqual(before);
  });
});

describe('a service behind a relay', () => {
  test('Felix restarts under traffic: no packet is lost or let through, nothing is written', async () => {
    const service = await startService();
    let felix = await startFelix(RELAY);
    await atRest(service);
    const before = await quiet();
    const writes = service.operations.length;
    const traffic = await Traffic.start(node, PAIRS);
    for (const how of ['terminate', 'crash', 'terminate'] as const) {
      await felix[how]();
      const exchanges = await traffic.exchanges();
      await waitFor(
        async () => (await traffic.exchanges()) > exchanges + 8,
        () => 'no traffic',
      );
      felix = await startFelix(RELAY);
    }
    const report = await traffic.stop();
    expect(report.faults).toEqual([]);
    expect(report.exchanges).toBeGreaterThan(PAIRS.length * 24);
    expect(service.operations.slice(writes)).toEqual([]);
    expect(await quiet()).toEqual(before);
  });

  test('the service is killed: Felix restarts with the relay, and all is as before', async () => {
    const service = await startService();
    const felix = await startFelix(RELAY);
    const before = await quiet();
    service.signal('SIGKILL');
    expect(await felix.ended).toBe(FRONT_END);
    expect(await dumpKernel(node.namespace, MODE)).toEqual(before);
    const next = await startService();
    await startFelix(RELAY);
    await atRest(next);
    expect(await quiet()).toEqual(before);
    expect(next.operations).toEqual([]);
  });

  test('the service comes after Felix: the relay waits for it', async () => {
    const felix = new FakeFelix({
      driver: RELAY,
      enter: node.namespace.enter,
      environment: { DATAPLANE_SERVICE: socket() },
    });
    cleanups.push(() => felix.terminate());
    felix.send(feed.restarted());
    await waitFor(
      () => felix.output.includes('attempt 1 of 10'),
      () => felix.output,
    );
    await startService();
    await felix.waitInSync();
  });
});
