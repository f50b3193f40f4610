// kill -9 of service, relay or control plane at 200 random moments, with traffic and changing policies: nothing that is
// denied passes, nothing that is allowed breaks, and the end is the kernel of the start. Two nodes share the kills, since
// half of a kill is waiting. KILLS sets how many, FDP_SEED which ones.
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { waitFor } from './support/driver-process.js';
import { FakeFelix } from './support/fake-felix.js';
import { expectState, quietKernel } from './support/kernel-state.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import { expectPackets } from './support/packets-table.js';
import { namespaceYaml, podYaml, ResourceFeed, yamlFile } from './support/pod-resources.js';
import { Program, temporaryFolder } from './support/program.js';
import { seededRandom } from './support/random.js';
import { Traffic } from './support/traffic.js';

const RELAY = join(import.meta.dirname, '../../bin/felix-dataplane-relay');
const KILLS = Number(process.env['KILLS'] ?? 200);
const NODES = 2;
const MODE = 'nftables';
const PLUGS = podPlugs(3);
/** Debug lines would be most of the work. */
const environment = { DATAPLANE_LOG_LEVEL: 'info' };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Kill {
  readonly victim: 'service' | 'relay' | 'felix';
  /** After a change was sent: before, during or after its apply. */
  readonly afterMs: number;
  /** The change. */
  readonly port: number;
  /** Whether the next Felix gets in sync, or dies before that as well. */
  readonly isFollowed: boolean;
}

function planKills(): Kill[] {
  const random = seededRandom('serve-kill');
  return Array.from({ length: KILLS }, () => ({
    victim: random.pick(['service', 'relay', 'felix'] as const),
    afterMs: random.integer(120),
    port: 9_000 + random.integer(1_000),
    isFollowed: random.integer(10) < 7,
  }));
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

/** A node with a service, a relay and a Felix, each of which can be killed. */
class Stage {
  readonly #feed = new ResourceFeed(MODE);
  readonly #address: string;
  #service: Program | null = null;
  #felix: FakeFelix | null = null;

  constructor(
    readonly node: PacketNode,
    folder: string,
  ) {
    this.#address = `unix:${join(folder, 'driver.sock')}`;
    this.#feed.apply(yamlFile(namespaceYaml('default'), ...PLUGS.map((plug) => podYaml(plug))));
  }

  async start(port: number): Promise<void> {
    this.#feed.apply(policies(port));
    await this.#startService();
    await this.#startFelix();
    await this.untilInSync();
  }

  change(port: number): void {
    this.#feed.apply(policies(port));
    this.#felix?.send(this.#feed.frames());
  }

  async kill(victim: Kill['victim']): Promise<void> {
    const felix = this.#felix;
    if (victim === 'service') {
      this.#service?.signal('SIGKILL');
      await this.#service?.exited;
      await this.#startService();
    }
    if (victim === 'relay') {
      await felix?.killDriver();
      await felix?.ended;
      await felix?.terminate();
    } else {
      // A relay that still looked for the killed service would find the next one: this Felix ends in any case.
      await felix?.crash();
    }
    await this.#startFelix();
  }

  /** As runit does: a Felix whose driver ended is started again, until one is in sync. */
  async untilInSync(): Promise<void> {
    await waitFor(
      async () => {
        if (this.#felix?.hasEnded === true && !this.#felix.inSync) await this.#startFelix();
        return this.#felix?.inSync === true;
      },
      () => `not in sync\n${this.transcript()}`,
    );
  }

  transcript(): string {
    return `${this.#felix?.output}\n${this.#service?.transcript()}`;
  }

  async stop(): Promise<void> {
    await this.#felix?.terminate();
    await this.#service?.stop();
  }

  async #startService(): Promise<void> {
    this.#service = new Program(['serve', '--listen', this.#address], {
      enter: this.node.namespace.enter,
      environment,
    });
    await this.#service.logged('felix-dataplane serves');
  }

  async #startFelix(): Promise<void> {
    await this.#felix?.terminate();
    this.#felix = new FakeFelix({ driver: RELAY, environment: { ...environment, DATAPLANE_SERVICE: this.#address } });
    this.#felix.send(this.#feed.restarted());
  }
}

async function createStage(): Promise<Stage> {
  const node = await PacketNode.create({ pods: PLUGS });
  cleanups.push(() => node.remove());
  const folder = temporaryFolder();
  cleanups.push(() => folder.remove());
  const stage = new Stage(node, folder.path);
  cleanups.push(() => stage.stop());
  return stage;
}

async function playOn(stage: Stage, kills: readonly Kill[]): Promise<void> {
  const { node } = stage;
  await stage.start(9_000);
  const atStart = await quietKernel(node.namespace, MODE);
  const traffic = await Traffic.start(node, PAIRS);
  try {
    for (const { victim, afterMs, port, isFollowed } of kills) {
      stage.change(port);
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      await stage.kill(victim);
      if (isFollowed) await stage.untilInSync();
    }
    await stage.untilInSync();
  } finally {
    const report = await traffic.stop();
    expect(report.faults).toEqual([]);
    expect(report.exchanges).toBeGreaterThan(kills.length * 20);
  }
  const port = kills.at(-1)?.port ?? 9_000;
  await expectPackets(node, ['p1 -> p0', 'p0 -> p2', 'p2 -x-> p0', `p2 -> p0:${port}`, `p2 -x-> p0:${port + 1}`]);
  stage.change(9_000);
  await expectState({ namespace: node.namespace, mode: MODE, describe: () => stage.transcript() }, atStart);
}

test(
  `${KILLS} kills: no denied packet passes, no allowed flow breaks, the end is right`,
  async () => {
    const kills = planKills();
    await Promise.all(
      Array.from({ length: NODES }, async (_, lane) =>
        playOn(
          await createStage(),
          kills.filter((_kill, index) => index % NODES === lane),
        ),
      ),
    );
  },
  120_000 + KILLS * 10_000,
);
