// A node in a namespace of its own, pods in theirs behind veth pairs, and one outside host: the place where packet tests
// let the driver decide over real packets.
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import {
  ConfigUpdateSchema,
  EncapsulationSchema,
  InSyncSchema,
  RawConfigSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { Probe } from '../../../scripts/lib/probe.js';
import { hostMetadata } from '../../fakes/messages.js';
import type { Mode } from '../../fixtures/recording.js';
import { DriverProcess, modeParameters, waitFor } from './driver-process.js';
import { createNamespace, type Namespace } from './namespace.js';
import { type DesiredState, encodeFrame, type PodState, transition, type WorkloadInit } from './packets-state.js';

/** One place that sends and takes packets. */
export interface Site {
  readonly name: string;
  readonly namespace: Namespace;
  readonly probe: Probe;
  readonly v4: string;
  readonly v6: string;
}

/** A pod as it is plugged in; `interfaceName` is the end on the node, `peer` the end that moves into the pod. */
export interface PodPlug {
  readonly name: string;
  readonly interfaceName: string;
  readonly peer: string;
  readonly v4: string;
  readonly v6: string;
  /** MAC of the end in the pod, as the endpoint says. */
  readonly mac: string;
}

interface Addresses {
  readonly v4: string;
  readonly v6: string;
}

const NODE_V4 = '192.168.0.1';
const NODE_V6 = 'fd00:10::1';
const OUTSIDE_V4 = '192.168.0.2';
const OUTSIDE_V6 = 'fd00:10::2';

/** p0, p1, … at 10.65.0.10, 10.65.0.11, … and fd00:65::10, …: the pods of tests.md, fixture T1. */
export function podPlugs(count: number): PodPlug[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `p${index}`,
    interfaceName: `cali${index}`,
    peer: `pcali${index}`,
    v4: `10.65.0.${10 + index}`,
    v6: `fd00:65::${10 + index}`,
    mac: `ee:ee:ee:ee:ee:0${index}`,
  }));
}

/** Link-local address that the kernel makes of a MAC address. */
function linkLocal(mac: string): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const hex = (high: number, low: number): string => ((high << 8) | low).toString(16);
  return `fe80::${hex(a ^ 2, b)}:${hex(c, 0xff)}:${hex(0xfe, d)}:${hex(e, f)}`;
}

/** The interfaces of a node as the recordings make them: eth0 to the outside, one veth pair for each pod. */
function hostScript(pods: readonly PodPlug[]): string {
  return `
    sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip link add eth0 address 02:00:00:00:00:01 type veth peer name ext0 address 02:00:00:00:01:01
    ip addr add ${NODE_V4}/24 dev eth0
    ip -6 addr add ${NODE_V6}/64 dev eth0 nodad
    ip link set eth0 up
    ${pods
      .map(
        (pod, index) => `
    ip link add ${pod.interfaceName} address 02:00:00:00:00:1${index} type veth peer name ${pod.peer} address ${pod.mac}
    ip link set ${pod.interfaceName} up`,
      )
      .join('')}
  `;
}

/** What a node is made of; without a script the interfaces are those of `hostScript`. */
export interface PacketNodeOptions {
  readonly pods: readonly PodPlug[];
  readonly script?: string;
}

/** How a driver on the node is started. */
export interface DriverOptions {
  readonly mode: Mode;
  /** Felix parameters beside those of the mode. */
  readonly config?: Readonly<Record<string, string>>;
  readonly state?: DesiredState;
  readonly environment?: Record<string, string>;
}

/** The node, its pods, the outside host `x`, and the driver. */
export class PacketNode {
  readonly sites = new Map<string, Site>();
  readonly plugs: readonly PodPlug[];
  #driver: DriverProcess | null = null;
  #state: DesiredState = {};
  #sequence = 0;

  private constructor(plugs: readonly PodPlug[]) {
    this.plugs = plugs;
  }

  /** Makes the namespaces and starts a probe agent in each; the caller removes the node also after a failure. */
  static async create(options: PacketNodeOptions): Promise<PacketNode> {
    const node = new PacketNode(options.pods);
    try {
      await node.#build(options);
      return node;
    } catch (error) {
      await node.remove();
      throw error;
    }
  }

  /** The site `n` (node), `x` (outside host) or that of a pod. */
  site(name: string): Site {
    const site = this.sites.get(name);
    if (site === undefined) throw new Error(`No site "${name}", there are ${[...this.sites.keys()].join(', ')}`);
    return site;
  }

  get namespace(): Namespace {
    return this.site('n').namespace;
  }

  get driver(): DriverProcess {
    if (this.#driver === null) throw new Error('No driver is running');
    return this.#driver;
  }

  /** A driver that is in sync with `state`. Replaces the one that runs. */
  async start(options: DriverOptions): Promise<DriverProcess> {
    await this.stop();
    const parameters = { FelixHostname: 'node1', ...modeParameters(options.mode), ...options.config };
    const lower = Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key.toLowerCase(), value]));
    const config = create(ConfigUpdateSchema, {
      config: parameters,
      sourceToRawConfig: { 5: create(RawConfigSchema, { source: 'environment variable', config: lower }) },
    });
    this.#state = options.state ?? {};
    await this.startWithFrames(
      [
        { case: 'configUpdate' as const, value: config },
        hostMetadata('node1', `${NODE_V4}/24`, `${NODE_V6}/64`),
        { case: 'encapsulation' as const, value: create(EncapsulationSchema, {}) },
        ...transition({}, this.#state),
        { case: 'inSync' as const, value: create(InSyncSchema, {}) },
      ].map((message) => this.#frame(message)),
      options.environment,
    );
    return this.driver;
  }

  /** A driver fed with recorded frames, in sync. */
  async startWithFrames(frames: readonly Uint8Array[], environment: Record<string, string> = {}): Promise<void> {
    await this.stop();
    this.#driver = new DriverProcess(this.namespace, {
      XTABLES_LOCKFILE: this.#lockFile,
      ...environment,
    });
    this.#driver.send(frames);
    await this.applied(0);
  }

  /** Sends what leads to `state` and waits until the driver has applied it. */
  async become(state: DesiredState): Promise<void> {
    const messages = transition(this.#state, state);
    this.#state = state;
    if (messages.length === 0) return;
    const before = this.#applies();
    this.driver.send(messages.map((message) => this.#frame(message)));
    await this.applied(before);
  }

  /** Waits for an apply after number `before`, and for quiet after it. */
  async applied(before: number): Promise<void> {
    const driver = this.driver;
    let seen = -1;
    let since = Date.now();
    await waitFor(
      () => {
        driver.assertRunning();
        if (driver.logs.length !== seen) since = Date.now();
        seen = driver.logs.length;
        return driver.inSync && this.#applies() > before && Date.now() - since > 100;
      },
      () =>
        `the driver has not applied: ${driver.inSync ? '' : 'not '}in sync, ${this.#applies()} applies, ${before} before\n` +
        `${driver.rawOutput}${this.problems()}\n${driver.transcript()}`,
    );
  }

  /** Number of applies of the running driver so far. */
  get applies(): number {
    return this.#applies();
  }

  /** Warnings and errors of the running driver, for the message of a failed test. */
  problems(): string {
    return (this.#driver?.logs ?? [])
      .filter((line) => Number(line['level']) >= 40)
      .slice(-10)
      .map((line) => JSON.stringify(line))
      .join('\n');
  }

  /** The state of a pod with an endpoint like `fields`, both addresses and profile `open`. */
  pod(name: string, fields: WorkloadInit = {}): PodState {
    const plug = this.plugs.find((candidate) => candidate.name === name);
    if (plug === undefined) throw new Error(`No pod "${name}"`);
    return {
      interfaceName: plug.interfaceName,
      endpoint: {
        mac: plug.mac,
        profileIds: ['open'],
        ipv4Nets: [`${plug.v4}/32`],
        ipv6Nets: [`${plug.v6}/128`],
        ...fields,
      },
    };
  }

  /** All pods of the node with the same endpoint fields. */
  pods(fields: WorkloadInit = {}): Record<string, PodState> {
    return Object.fromEntries(this.plugs.map((plug) => [plug.name, this.pod(plug.name, fields)]));
  }

  /** Both addresses of a site, or of pods, for members of a set. */
  addresses(...names: readonly string[]): string[] {
    return names.flatMap((name) => [this.site(name).v4, this.site(name).v6]);
  }

  /** Ends the driver if one runs; the kernel keeps what it programmed. */
  async stop(): Promise<void> {
    const driver = this.#driver;
    this.#driver = null;
    this.#sequence = 0;
    await driver?.stop();
  }

  async remove(): Promise<void> {
    await this.stop();
    await Promise.all([...this.sites.values()].map((site) => site.probe.stop()));
    if (this.sites.has('n')) rmSync(this.#lockFile, { force: true });
    await Promise.all([...this.sites.values()].map((site) => site.namespace.remove()));
  }

  /** A lock of its own, so that nodes do not wait for each other. */
  get #lockFile(): string {
    return join(tmpdir(), `${this.namespace.name}.lock`);
  }

  #frame(message: DataplaneMessage): Uint8Array {
    return encodeFrame(message, this.#sequence++);
  }

  #applies(): number {
    return this.#driver?.logs.filter((line) => line.msg === 'Applied').length ?? 0;
  }

  async #build({ pods, script }: PacketNodeOptions): Promise<void> {
    const node = await this.#addSite('n', NODE_V4, NODE_V6);
    await node.shell(script ?? hostScript(pods));
    // Without a rate limit every refusal is told, also to one who asks often.
    await node.shell(`
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
    `);
    await this.#plugOutside('x', 'ext0', 'eth0', { v4: OUTSIDE_V4, v6: OUTSIDE_V6 }, { v4: NODE_V4, v6: NODE_V6 });
    for (const pod of pods) await this.#plugIn(pod);
  }

  /** One more outside host, behind an interface of its own on the node. */
  async addOutside(name: string, interfaceName: string, network: number): Promise<void> {
    const own = { v4: `192.168.${network}.2`, v6: `fd00:${network}::2` };
    const gateway = { v4: `192.168.${network}.1`, v6: `fd00:${network}::1` };
    await this.namespace.shell(`
      ip link add ${interfaceName} type veth peer name peer${network}
      ip addr add ${gateway.v4}/24 dev ${interfaceName}
      ip -6 addr add ${gateway.v6}/64 dev ${interfaceName} nodad
      ip link set ${interfaceName} up
    `);
    await this.#plugOutside(name, `peer${network}`, interfaceName, own, gateway);
  }

  /** Both ends know each other's MAC, because a host endpoint may block neighbour discovery (differences.md row 14). */
  async #plugOutside(
    name: string,
    peer: string,
    interfaceName: string,
    own: Addresses,
    gateway: Addresses,
  ): Promise<void> {
    const nodeMac = await this.#macOf(interfaceName);
    const outsideMac = await this.#macOf(peer);
    await this.namespace.shell(`
      ip neigh replace ${own.v4} lladdr ${outsideMac} dev ${interfaceName} nud permanent
      ip -6 neigh replace ${own.v6} lladdr ${outsideMac} dev ${interfaceName} nud permanent
    `);
    const outside = await this.#addSite(name, own.v4, own.v6);
    await this.namespace.shell(`ip link set ${peer} netns ${outside.name}`);
    await outside.shell(`
      sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
      ip link set ${peer} name eth0
      ip addr add ${own.v4}/24 dev eth0
      ip -6 addr add ${own.v6}/64 dev eth0 nodad
      ip link set eth0 up
      ip route add default via ${gateway.v4}
      ip -6 route add default via ${gateway.v6}
      ip neigh replace ${gateway.v4} lladdr ${nodeMac} dev eth0 nud permanent
      ip -6 neigh replace ${gateway.v6} lladdr ${nodeMac} dev eth0 nud permanent
    `);
  }

  async #macOf(interfaceName: string): Promise<string> {
    const shown = await this.namespace.run(['ip', '-o', 'link', 'show', interfaceName]);
    return /link\/ether (\S+)/.exec(shown)?.[1] ?? '';
  }

  async #addSite(name: string, v4: string, v6: string): Promise<Namespace> {
    const namespace = await createNamespace(`pk-${name}`);
    const probe = await Probe.start(namespace.enter);
    this.sites.set(name, { name, namespace, probe, v4, v6 });
    return namespace;
  }

  /** Sets the pod's end up as the CNI plugin does, with the gateway's neighbour entries made by hand. */
  async #plugIn(pod: PodPlug): Promise<void> {
    const node = this.namespace;
    const space = await this.#addSite(pod.name, pod.v4, pod.v6);
    const hostMac = await this.#macOf(pod.interfaceName);
    await node.shell(`ip link set ${pod.peer} netns ${space.name}`);
    const gateway = linkLocal(hostMac);
    await space.shell(`
      sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
      ip link set ${pod.peer} name eth0 address ${pod.mac}
      ip addr add ${pod.v4}/32 dev eth0
      ip -6 addr add ${pod.v6}/128 dev eth0 nodad
      ip link set eth0 up
      ip route add 169.254.1.1 dev eth0 scope link
      ip route add default via 169.254.1.1 dev eth0
      ip neigh replace 169.254.1.1 lladdr ${hostMac} dev eth0 nud permanent
      ip -6 route add default via ${gateway} dev eth0
      ip -6 neigh replace ${gateway} lladdr ${hostMac} dev eth0 nud permanent
    `);
  }
}
