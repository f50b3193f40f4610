// A real Felix that is stopped, killed, told other parameters or given another dataplane, under streams between pods: no
// packet of an allowed stream may be lost, none of a denied one arrive, and nothing be written that need not be.
import type { Mode } from '../fixtures/recording.js';
import { waitFor } from '../kernel/support/driver-process.js';
import type { KernelDump } from '../kernel/support/dump.js';
import { PacketNode, podPlugs } from '../kernel/support/packets-node.js';
import { FelixNode, type Plane } from './felix-node.js';
import { KernelWatch } from './kernel-watch.js';
import { withoutDifferences } from './known-differences.js';
import { INITIAL, type Resource, stored } from './resources.js';
import { missingTraces, sentinels } from './sentinel.js';
import { Streams } from './streams.js';
import { differenceText, differingFiles } from './text.js';

/** What is run. */
export interface TrafficOptions {
  readonly felix: string;
  readonly mode: Mode;
  readonly only: string | undefined;
  readonly report: (what: string, faults: readonly string[]) => void;
}

const PLUGS = podPlugs(3);
const OUTER_PLANES = ['pipe', 'socket', 'grpc'] as const;

/** Three pods that let in everybody, apart from p0, which lets in p1 alone. */
function resources(): Resource[] {
  const pods = PLUGS.map((plug) =>
    stored({
      kind: 'WorkloadEndpoint',
      metadata: { name: `node1-k8s-${plug.name}-eth0`, namespace: 'default', labels: { app: plug.name } },
      spec: {
        node: 'node1',
        orchestrator: 'k8s',
        pod: plug.name,
        endpoint: 'eth0',
        interfaceName: plug.interfaceName,
        mac: plug.mac,
        profiles: ['projectcalico-default-allow'],
        ipNetworks: [`${plug.v4}/32`, `${plug.v6}/128`],
      },
    }),
  );
  const policy = stored({
    kind: 'NetworkPolicy',
    metadata: { name: 'p0', namespace: 'default' },
    spec: {
      selector: "app == 'p0'",
      types: ['Ingress'],
      ingress: [{ action: 'Allow', source: { selector: "app == 'p1'" } }],
    },
  });
  const addresses = { bgp: { ipv4Address: '192.168.0.1/24', ipv6Address: 'fd00:10::1/64' } };
  return [...INITIAL, stored({ kind: 'Node', metadata: { name: 'node1' }, spec: addresses }), ...pods, policy];
}

/** A node with pods and streams between them, and what was found so far. */
class Scene {
  readonly faults: string[] = [];
  #plane: Plane = 'pipe';
  #step = 1;

  private constructor(
    readonly options: TrafficOptions,
    readonly packets: PacketNode,
    readonly node: FelixNode,
    readonly watch: KernelWatch,
  ) {}

  static async create(options: TrafficOptions): Promise<Scene> {
    const packets = await PacketNode.create({ pods: PLUGS });
    const cleanups = [(): Promise<void> => packets.remove()];
    try {
      const node = await FelixNode.inside(packets.namespace);
      cleanups.unshift(() => node.remove());
      await node.apply([...resources(), ...sentinels(1)]);
      return new Scene(options, packets, node, await KernelWatch.start(packets.namespace));
    } catch (error) {
      for (const cleanup of cleanups) await cleanup();
      throw error;
    }
  }

  async remove(): Promise<void> {
    await this.watch.stop();
    await this.node.remove();
    await this.packets.remove();
  }

  /** Starts Felix and waits until it says that its dataplane is in sync, and until the kernel is at rest. */
  async start(plane: Plane = this.#plane): Promise<void> {
    const { felix, mode } = this.options;
    this.#plane = plane;
    await this.node.start({ felix, mode, plane, parameters: { LogSeverityScreen: 'info' } });
    await this.inSync();
  }

  async inSync(): Promise<void> {
    const { node } = this;
    const said = this.#plane === 'internal' ? 'Completed first update to dataplane' : 'FromDataplane_DataplaneInSync';
    await waitFor(
      () => node.felix?.output.includes(said) ?? false,
      () => `not in sync\n${node.felix?.output.slice(-3000)}`,
    );
    await this.rest();
  }

  /** Waits until the kernel shows the last step and two dumps agree. */
  async rest(): Promise<KernelDump> {
    let dump: KernelDump = {};
    let before = '';
    await waitFor(
      async () => {
        dump = await this.node.dump(this.options.mode);
        const now = JSON.stringify(dump);
        const isSame = now === before && missingTraces(dump, this.options.mode, this.#step).length === 0;
        before = now;
        return isSame;
      },
      () => `step ${this.#step} is not there\n${this.node.felix?.output.slice(-3000)}`,
    );
    return dump;
  }

  /** Changes one resource of each kind. */
  async change(): Promise<void> {
    this.#step += 1;
    await this.node.apply(sentinels(this.#step));
  }

  /** A fault for each write since the last call, by anybody, that is not to be expected. */
  async expectNoWrites(what: string, isExpected: (write: string) => boolean = () => false): Promise<void> {
    const writes = (await this.writes()).filter((write) => !isExpected(write));
    if (writes.length > 0) this.faults.push(`${what}: ${writes.length} writes\n${writes.slice(0, 40).join('\n')}`);
  }

  /** Operations that a driver announced since the last call. */
  writesOfDriver(): string[] {
    const text = `${this.node.felix?.output ?? ''}\n${this.node.service?.output ?? ''}`;
    const lines = text.split('\n').filter((line) => line.includes('"msg":"Operation"'));
    const fresh = lines.filter((line) => !this.#seen.has(line));
    for (const line of fresh) this.#seen.add(line);
    return fresh;
  }
  readonly #seen = new Set<string>();

  /** What was written since the last call. */
  async writes(): Promise<string[]> {
    return [...(await this.watch.changes()), ...this.writesOfDriver()];
  }

  expectSame(what: string, before: KernelDump, after: KernelDump): void {
    const [one, other] = [before, after].map((dump) => withoutDifferences(dump, this.options.mode));
    if (one !== undefined && other !== undefined && differingFiles(one, other).length > 0)
      this.faults.push(`${what}\n${differenceText(one, other)}`);
  }
}

/** Felix ends and comes back, with the same resources and with others. */
async function restarts(scene: Scene, plane: Plane): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const before = await scene.rest();
    await scene.writes();
    await scene.node.stop(signal);
    await scene.start();
    await scene.expectNoWrites(`${plane}: Felix restarted after ${signal}`);
    scene.expectSame(`${plane}: after ${signal}`, before, await scene.rest());
    await scene.node.stop(signal);
    await scene.change();
    await scene.start();
    if ((await scene.writes()).length === 0)
      scene.faults.push(`${plane}: a change while Felix was away, ${signal}, was seen by no watch`);
  }
}

/** A parameter changes in the datastore: Felix ends with 129 and is started again. */
async function parameterChange(scene: Scene, plane: Plane): Promise<void> {
  const resource = stored({
    kind: 'FelixConfiguration',
    metadata: { name: 'default' },
    spec: { defaultEndpointToHostAction: 'Accept' },
  });
  const before = await scene.rest();
  for (const change of ['apply', 'delete'] as const) {
    const restartsBefore = scene.node.restarts;
    await scene.node[change]([resource]);
    await waitFor(
      () => scene.node.restarts > restartsBefore,
      () => `Felix did not end by itself\n${scene.node.felix?.output.slice(-2000)}`,
    );
    await scene.inSync();
    const isSame = differingFiles(before, await scene.rest()).length === 0;
    if (isSame !== (change === 'delete'))
      scene.faults.push(`${plane}: after ${change} of a parameter the kernel is ${isSame ? 'as before' : 'another'}`);
  }
}

async function underStreams(scene: Scene, what: string, run: () => Promise<void>): Promise<void> {
  const streams = await Streams.start(scene.packets);
  try {
    await run();
  } finally {
    const { faults, passed, denied } = await streams.stop();
    console.log(`${scene.options.mode} ${what}: ${passed} packets allowed, ${denied} denied`);
    scene.faults.push(...faults.map((fault) => `${what}: ${fault}`));
  }
}

/** Each outer plane by itself, then all planes in turn over the same kernel. */
export async function trafficRuns(options: TrafficOptions): Promise<void> {
  const runs: readonly (readonly [string, (scene: Scene) => Promise<void>])[] = [
    ...OUTER_PLANES.map(
      (plane) =>
        [
          `restarts ${plane}`,
          async (scene: Scene): Promise<void> => {
            await scene.start(plane);
            await underStreams(scene, `restarts ${plane}`, async () => {
              await restarts(scene, plane);
              await parameterChange(scene, plane);
            });
          },
        ] as const,
    ),
    ['switch-over', switchOver],
  ];
  for (const [what, run] of runs) {
    if (options.only !== undefined && !what.includes(options.only)) continue;
    const scene = await Scene.create(options);
    try {
      await run(scene);
      options.report(`${options.mode} ${what}`, scene.faults);
    } catch (error) {
      options.report(`${options.mode} ${what}`, [...scene.faults, String(error)]);
    } finally {
      await scene.remove();
    }
  }
}

/** Row 2 of docs/differences.md: the one chain that differs, and what the driver says of it. */
function isOutputGuard(write: string): boolean {
  return / calico filter-cali-OUTPUT /.test(write) || /"write-chain","object":"filter\/[46] cali-OUTPUT"/.test(write);
}

/** Felix's own dataplane, this driver, and back again. */
async function switchOver(scene: Scene): Promise<void> {
  await scene.start('internal');
  const before = await scene.rest();
  // What Felix's own dataplane writes when it follows itself is no matter of ours.
  await scene.writes();
  await scene.node.stop();
  await scene.start();
  const usual = new Set(await scene.writes());
  console.log(`${scene.options.mode} restart of Felix's own dataplane: ${[...usual].join('; ') || 'no write'}`);
  await underStreams(scene, 'switch-over', async () => {
    for (const plane of ['pipe', 'internal', 'socket', 'internal', 'grpc', 'internal'] as const) {
      await scene.writes();
      await scene.node.stop();
      await scene.node.stopService();
      await scene.start(plane);
      await scene.expectNoWrites(
        `switch to ${plane}`,
        (write) =>
          (plane === 'internal' && usual.has(write)) || (scene.options.mode === 'nftables' && isOutputGuard(write)),
      );
      scene.expectSame(`switch to ${plane}`, before, await scene.rest());
    }
  });
}
