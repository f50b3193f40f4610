// kill -9 of service, relay or control plane at random moments, with traffic and changing policies: nothing that is denied
// passes, nothing that is allowed breaks, and the end is right. KILLS sets how many (default 30), SEED which ones.
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { waitFor } from './support/driver-process.js';
import { FakeFelix } from './support/fake-felix.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import { expectPackets } from './support/packets-table.js';
import { namespaceYaml, podYaml, ResourceFeed, yamlFile } from './support/pod-resources.js';
import { Program, temporaryFolder } from './support/program.js';
import { Traffic } from './support/traffic.js';

const RELAY = join(import.meta.dirname, '../../bin/felix-dataplane-relay');
const KILLS = Number(process.env['KILLS'] ?? 30);
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const PLUGS = podPlugs(3);
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Numbers from 0 to 1 that a seed decides. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** p0 lets in p1 alone; `port` is what changes and decides nothing for the traffic. */
function policies(port: number): string {
  const peer = (app: string): string => `from: [{podSelector: {matchLabels: {app: ${app}}}}]`;
  return `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p0, namespace: default},
    spec: {podSelector: {matchLabels: {app: p0}}, ingress: [{${peer('p1')}}, {${peer('p2')}, ports: [{port: ${port}}]}]}}`;
}

const PAIRS = [
  { from: 'p1', to: 'p0', port: 8055, passes: true },
  { from: 'p0', to: 'p2', port: 8055, passes: true },
  { from: 'p2', to: 'p0', port: 8055, passes: false },
];

test(
  `${KILLS} kills, seed ${SEED}: no denied packet passes, no allowed flow breaks, the end is right`,
  async () => {
    console.log(`seed ${SEED}`);
    const random = randomNumbers(SEED);
    const node = await PacketNode.create({ pods: PLUGS });
    cleanups.push(() => node.remove());
    const folder = temporaryFolder();
    cleanups.push(() => folder.remove());
    const address = `unix:${join(folder.path, 'driver.sock')}`;
    const feed = new ResourceFeed('nftables');
    feed.apply(yamlFile(namespaceYaml('default'), ...PLUGS.map((plug) => podYaml(plug)), policies(9_000)));

    const startService = async (): Promise<Program> => {
      const service = new Program(['serve', '--listen', address], { enter: node.namespace.enter });
      await service.logged('felix-dataplane serves');
      return service;
    };
    const startFelix = (): FakeFelix => {
      const felix = new FakeFelix({ driver: RELAY, environment: { DATAPLANE_SERVICE: address } });
      felix.send(feed.restarted());
      return felix;
    };
    /** As runit does: a Felix whose driver ended is started again, until one is in sync. */
    const untilInSync = async (): Promise<void> => {
      let isOver = false;
      const watch = (): void =>
        void felix.ended.then(() => {
          isOver = true;
        });
      watch();
      await waitFor(
        async () => {
          if (isOver && !felix.inSync) {
            await felix.terminate();
            isOver = false;
            felix = startFelix();
            watch();
          }
          return felix.inSync;
        },
        () => `not in sync\n${felix.output}\n${service.transcript()}`,
      );
    };
    let service = await startService();
    let felix = startFelix();
    cleanups.push(() => service.stop());
    cleanups.push(() => felix.terminate());
    await felix.waitInSync();
    const traffic = await Traffic.start(node, PAIRS);
    let port = 9_000;
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        port = 9_000 + Math.floor(random() * 1_000);
        feed.apply(policies(port));
        felix.send(feed.frames());
        // A random moment: before, during or after the apply of the change.
        await new Promise((resolve) => setTimeout(resolve, random() * 120));
        const victim = (['service', 'relay', 'felix'] as const)[Math.floor(random() * 3)];
        if (victim === 'service') {
          service.signal('SIGKILL');
          await service.exited;
          service = await startService();
        }
        if (victim === 'relay') {
          await felix.killDriver();
          await felix.ended;
          await felix.terminate();
        } else {
          // A relay that still looked for the killed service would find the next one: this Felix ends in any case.
          await felix.crash();
        }
        felix = startFelix();
        // Sometimes the next one dies before it is in sync as well.
        if (random() < 0.7) await untilInSync();
      }
      await untilInSync();
    } finally {
      const report = await traffic.stop();
      expect(report.faults, `seed ${SEED}`).toEqual([]);
      expect(report.rounds).toBeGreaterThan(KILLS);
    }
    await expectPackets(node, ['p1 -> p0', 'p0 -> p2', 'p2 -x-> p0', `p2 -> p0:${port}`, `p2 -x-> p0:${port + 1}`]);
  },
  120_000 + KILLS * 10_000,
);
