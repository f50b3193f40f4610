// A small node for fault tests: pods on veths in a namespace, a real driver, and tools that fail on demand.
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { execa } from 'execa';
import { afterEach, expect } from 'vitest';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { type ToDataplane, ToDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { ipSet, policy, profile, tier, workload } from '../../fakes/messages.js';
import { loadRecording, type Mode, splitFrames } from '../../fixtures/recording.js';
import { DriverProcess, modeParameters, waitFor, withParameters, PATIENCE_MS } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
import { createNamespace, type Namespace } from './namespace.js';
import { quiet } from './replay.js';

/** Id of the set that the policy of every fault node uses. */
export const CLIENTS_SET = 's:clients';
/** Config, host metadata, pool and encapsulation of the recording pod-lifecycle come before its InSync. */
const FRAMES_BEFORE_IN_SYNC = 4;

/** The frame of one message, without length. */
export function encoded(payload: NonNullable<ToDataplane['payload']>): Buffer {
  return Buffer.from(toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { payload })));
}

/** Pod number `index` (from 1) on `cali<index>`, governed by `policies`. */
export function pod(index: number, policies: readonly string[] = ['np/default/web']): DataplaneMessage {
  return workload(`default/pod${index}`, `cali${index}`, {
    mac: `ee:ee:ee:ee:ee:${index.toString(16).padStart(2, '0')}`,
    profileIds: ['open'],
    ipv4Nets: [`10.65.0.${index}/32`],
    tiers: policies.length === 0 ? [] : [tier(policies)],
  });
}

/** The policy that lets the members of a set reach port 80. */
export function webPolicy(name: string, setId: string): DataplaneMessage {
  return policy(name, {
    inboundRules: [
      {
        action: 'allow',
        protocol: { numberOrName: { case: 'name', value: 'tcp' } },
        dstPorts: [{ first: 80, last: 80 }],
        srcIpSetIds: [setId],
      },
    ],
  });
}

/** Shell lines that make the veths of pods 1 to `count`. */
export function podLinks(count: number): string {
  const lines = ['sysctl -qw net.ipv6.conf.default.accept_dad=0'];
  for (let index = 1; index <= count; index++) {
    lines.push(
      `ip link add cali${index} type veth peer name peer${index}`,
      `ip link set cali${index} up`,
      `ip link set peer${index} up`,
    );
  }
  return lines.join('\n');
}

/** What a node begins with. */
export interface FaultNodeOptions {
  readonly mode: Mode;
  /** Pods with links, two unless told otherwise. */
  readonly pods?: number;
  /** Felix parameters beside those of the mode. */
  readonly parameters?: Record<string, string>;
  /** Environment of the driver. */
  readonly environment?: Record<string, string>;
  /** Messages beside those of the pods. */
  readonly messages?: readonly DataplaneMessage[];
  /** Shell lines run in the namespace before the driver starts. */
  readonly prepare?: string;
}

/** A namespace with a driver. */
export class FaultNode {
  readonly mode: Mode;
  readonly namespace: Namespace;
  driver: DriverProcess;
  readonly #start: readonly Buffer[];
  readonly #history: Buffer[] = [];

  constructor(namespace: Namespace, options: FaultNodeOptions) {
    this.mode = options.mode;
    this.namespace = namespace;
    const recording = splitFrames(loadRecording('pod-lifecycle').stream);
    const parameters = { ...modeParameters(options.mode), ...options.parameters };
    const [inSync, ...before] = [
      ...recording.slice(FRAMES_BEFORE_IN_SYNC, FRAMES_BEFORE_IN_SYNC + 1),
      ...withParameters(recording.slice(0, FRAMES_BEFORE_IN_SYNC), parameters),
    ];
    const pods = Array.from({ length: options.pods ?? 2 }, (_, index) => pod(index + 1));
    const messages = [
      ipSet(CLIENTS_SET, ['10.65.0.1/32', '10.66.0.0/24']),
      webPolicy('np/default/web', CLIENTS_SET),
      profile('open'),
      ...pods,
      ...(options.messages ?? []),
    ];
    this.#start = [...before, ...messages.map(encoded), ...(inSync === undefined ? [] : [inSync])];
    this.driver = this.startDriver(options.environment);
  }

  /** Starts a driver and sends it all that was sent so far. The one before it must have ended. */
  startDriver(environment: Record<string, string> = {}): DriverProcess {
    this.driver = new DriverProcess(this.namespace, environment);
    this.driver.send([...this.#start, ...this.#history]);
    return this.driver;
  }

  send(...messages: readonly DataplaneMessage[]): void {
    const frames = messages.map(encoded);
    this.#history.push(...frames);
    this.driver.send(frames);
  }

  async inSync(): Promise<void> {
    await waitFor(
      () => this.driver.inSync,
      () => `not in sync\n${this.problems()}`,
    );
  }

  /** The kernel once the driver rests. */
  async settled(): Promise<KernelDump> {
    await this.inSync();
    await quiet(this.driver);
    return dumpKernel(this.namespace, this.mode);
  }

  /** Waits until the kernel is as `expected`; fails with the difference. */
  async becomes(expected: KernelDump, timeoutMs = PATIENCE_MS): Promise<void> {
    let actual: KernelDump = {};
    await waitFor(
      async () => {
        const applies = this.driver.applies;
        actual = await dumpKernel(this.namespace, this.mode);
        if (JSON.stringify(actual) === JSON.stringify(expected)) return true;
        await this.driver.nextApply(applies);
        return false;
      },
      () => 'the kernel stays different',
      timeoutMs,
    ).catch(() => undefined);
    expect(actual, this.problems()).toEqual(expected);
  }

  /** Last status sent for pod `index`, or undefined. */
  podStatus(index: number): string | undefined {
    return this.workloadStatus(`default/pod${index}`);
  }

  workloadStatus(workloadId: string): string | undefined {
    let last: string | undefined;
    for (const { payload } of this.driver.received) {
      if (payload.case === 'workloadEndpointStatusUpdate' && payload.value.id?.workloadId === workloadId)
        last = payload.value.status?.status;
      if (payload.case === 'workloadEndpointStatusRemove' && payload.value.id?.workloadId === workloadId)
        last = undefined;
    }
    return last;
  }

  hostStatus(endpointId: string): string | undefined {
    let last: string | undefined;
    for (const { payload } of this.driver.received) {
      if (payload.case === 'hostEndpointStatusUpdate' && payload.value.id?.endpointId === endpointId)
        last = payload.value.status?.status;
      if (payload.case === 'hostEndpointStatusRemove' && payload.value.id?.endpointId === endpointId) last = undefined;
    }
    return last;
  }

  /** Waits until `status()` is `wanted`. */
  async statusBecomes(status: () => string | undefined, wanted: string | undefined): Promise<void> {
    await waitFor(
      () => status() === wanted,
      () => `status is ${status()}, not ${wanted}\n${this.problems()}`,
    );
  }

  /** Objects that the driver wrote, from the `from`th log line on. */
  operations(from = 0): string[] {
    return this.driver.logs
      .slice(from)
      .filter((line) => line.msg === 'Operation')
      .map((line) => `${String(line['verb'])} ${String(line['object'])}`);
  }

  /** Warnings and errors of the driver, for the text of a failure. */
  problems(): string {
    const lines = this.driver.logs.filter((line) => Number(line['level']) >= 40).slice(-12);
    return `${this.driver.rawOutput}${lines.map((line) => JSON.stringify(line)).join('\n')}`;
  }

  /** Last line of the log: why the driver ended. */
  lastLine(): string {
    return this.driver.logs.at(-1)?.msg ?? '';
  }

  async remove(): Promise<void> {
    await this.driver.stop();
    await this.namespace.remove();
  }
}

/** Starts nodes that are gone after each test. */
export function useFaultNodes(): (options: FaultNodeOptions) => Promise<FaultNode> {
  const nodes: FaultNode[] = [];
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.remove();
  });
  return async (options) => {
    const namespace = await createNamespace('fault');
    await namespace.shell(`${podLinks(options.pods ?? 2)}\n${options.prepare ?? ''}`);
    const node = new FaultNode(namespace, options);
    nodes.push(node);
    await node.inSync();
    return node;
  };
}

/** A folder that stands before PATH, whose tools do what a test says and are the real ones otherwise. */
export class FaultyTools {
  readonly folder = mkdtempSync(join(tmpdir(), 'fdp-tools-'));

  /** For the driver: these tools first, each started anew for every call. */
  get environment(): Record<string, string> {
    return { PATH: `${this.folder}${delimiter}${process.env['PATH'] ?? ''}`, DATAPLANE_KERNEL_DRIVER: 'spawn' };
  }

  /** From now on each of `tools` is this shell script; `real` in it runs the true tool with the same arguments. */
  async set(tools: readonly string[], body: string): Promise<void> {
    for (const tool of tools) {
      const { stdout: path } = await execa('sh', ['-c', `command -v ${tool}`]);
      const file = join(this.folder, tool);
      writeFileSync(`${file}.new`, `#!/bin/sh\nreal() { ${path} "$@"; }\nhere=${file}\n${body}\n`);
      chmodSync(`${file}.new`, 0o755);
      // A tool that is being started must be the old one or the new one.
      renameSync(`${file}.new`, file);
    }
  }

  /** The next `times` calls of each tool fail with `message`; later ones are real. */
  async failTimes(tools: readonly string[], times: number, message: string): Promise<void> {
    for (const tool of tools)
      for (let index = 0; index < times; index++) mkdirSync(join(this.folder, `${tool}.token${index}`));
    const take = 'for t in $here.token*; do rmdir "$t" 2>/dev/null && {';
    await this.set(tools, `${take} cat >/dev/null; echo '${message}' >&2; exit 1; }; done\nreal "$@"`);
  }

  async heal(tools: readonly string[]): Promise<void> {
    await this.set(tools, 'real "$@"');
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Makes tool folders that are gone after each test. */
export function useFaultyTools(): () => FaultyTools {
  const folders: FaultyTools[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) folder.remove();
  });
  return () => {
    const tools = new FaultyTools();
    folders.push(tools);
    return tools;
  };
}
