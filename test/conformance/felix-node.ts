// A node of its own for a real Felix: a network namespace with an etcd on loopback, and a Felix that is started and
// stopped as calico-node's service does. Nothing listens outside, and files below /run and /var/lib are private.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { hostFiles } from '../../src/kernel/files.js';
import type { Mode } from '../fixtures/recording.js';
import { modeParameters, waitFor } from '../kernel/support/driver-process.js';
import { dumpKernel, type KernelDump } from '../kernel/support/dump.js';
import { createNamespace, type Namespace } from '../kernel/support/namespace.js';
import { EXECUTABLE } from '../kernel/support/program.js';
import { keyOf, type Resource } from './resources.js';

/** Who programs the kernel. */
export type Plane = 'internal' | 'pipe' | 'socket' | 'grpc' | 'record';

/** Exit code of a Felix that wants to be started again with other parameters or another encapsulation. */
const CHANGED_CODE = 129;
const RELAY = `${EXECUTABLE}-relay`;
/** Private files for a Felix and its driver, then the program. */
const PRIVATE = 'mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/calico && exec "$@"';

/** What a start of Felix is told. */
export interface FelixStart {
  readonly felix: string;
  readonly mode: Mode;
  readonly plane: Plane;
  readonly parameters?: Readonly<Record<string, string>>;
}

interface Answer {
  readonly found?: readonly (readonly [string, string])[];
  readonly error?: string;
}

/** One process and what it printed. */
class Logged {
  output = '';
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  hasExited = false;

  constructor(argv: readonly string[], env: NodeJS.ProcessEnv) {
    const [program = '', ...rest] = argv;
    this.child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], env });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    this.exit = new Promise((resolve) => {
      this.child.once('exit', (code) => {
        this.hasExited = true;
        resolve(code);
      });
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<number | null> {
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), graceMs);
    const code = await this.exit;
    clearTimeout(timer);
    return code;
  }
}

/** A node that exists until `remove`. */
export class FelixNode {
  readonly namespace: Namespace;
  readonly folder = mkdtempSync(join(tmpdir(), 'fdp-conf-'));
  felix: Logged | null = null;
  service: Logged | null = null;
  /** Parameters of the last start. */
  settings: Readonly<Record<string, string>> = {};
  /** How often Felix was started again after a change of its parameters. */
  restarts = 0;
  #isStopping = false;
  #starts = 0;
  readonly #etcd: Logged;
  readonly #client: ChildProcess;
  readonly #answers: Interface;

  private constructor(namespace: Namespace) {
    this.namespace = namespace;
    const [client, peer] = ['http://127.0.0.1:2379', 'http://127.0.0.1:2380'];
    const options = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
    const etcd = ['etcd', '--data-dir', join(this.folder, 'etcd'), '--unsafe-no-fsync', ...options];
    this.#etcd = new Logged([...namespace.enter, ...etcd], process.env);
    const script = join(import.meta.dirname, 'etcd-client.mjs');
    this.#client = spawn('ip', [...namespace.enter.slice(1), process.execPath, script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (this.#client.stdout === null) throw new Error('no pipe');
    this.#answers = createInterface({ input: this.#client.stdout });
  }

  /** A node with the interfaces of a host script in a namespace of its own, and etcd answering. */
  static async create(hostScript: string): Promise<FelixNode> {
    const namespace = await createNamespace('felix');
    try {
      await namespace.shell(hostScript);
      return await FelixNode.inside(namespace);
    } catch (error) {
      await namespace.remove();
      throw error;
    }
  }

  /** A node in a namespace that is there, with etcd answering; `remove` takes the namespace as well. */
  static async inside(namespace: Namespace): Promise<FelixNode> {
    const node = new FelixNode(namespace);
    try {
      await waitFor(
        async () => (await node.#ask([{ list: '/' }])).error === undefined,
        () => node.#etcd.output,
      );
      return node;
    } catch (error) {
      await node.remove();
      throw error;
    }
  }

  /** Writes resources as Calico's client stores them. */
  async apply(resources: readonly Resource[]): Promise<void> {
    await this.#do(resources.map((resource) => ({ put: keyOf(resource), value: JSON.stringify(resource) })));
  }

  async delete(resources: readonly Resource[]): Promise<void> {
    await this.#do(resources.map((resource) => ({ delete: keyOf(resource) })));
  }

  /** Keys and values that begin with a prefix. */
  async list(prefix: string): Promise<readonly (readonly [string, string])[]> {
    return await this.#do([{ list: prefix }]);
  }

  async start({ felix, mode, plane, parameters = {} }: FelixStart): Promise<void> {
    this.#starts += 1;
    const settings: Record<string, string> = {
      DatastoreType: 'etcdv3',
      EtcdEndpoints: 'http://127.0.0.1:2379',
      FelixHostname: 'node1',
      LogFilePath: 'none',
      LogSeverityScreen: 'warning',
      UsageReportingEnabled: 'false',
      EndpointStatusPathPrefix: this.folder,
      UseInternalDataplaneDriver: String(plane === 'internal'),
      ...modeParameters(mode),
      ...parameters,
    };
    if (plane !== 'internal') settings['DataplaneDriver'] = this.#driver(plane);
    this.settings = settings;
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      // A Felix without cgo panics where it looks for what its eBPF dataplane left (bpf/nat RemoveConnectTimeLoadBalancer).
      FELIX_DebugSkipCTLBCleanup: 'true',
      DATASTORE_TYPE: 'etcdv3',
      ETCD_ENDPOINTS: 'http://127.0.0.1:2379',
    };
    for (const [name, value] of Object.entries(settings)) env[`FELIX_${name.toUpperCase()}`] = value;
    Object.assign(env, this.driverEnvironment(), plane === 'grpc' ? { DATAPLANE_SERVICE_GRPC: 'true' } : {});
    if ((plane === 'socket' || plane === 'grpc') && (this.service === null || this.service.hasExited)) {
      const serve = [EXECUTABLE, 'serve', '--listen', this.#socket(), ...(plane === 'grpc' ? ['--grpc'] : [])];
      this.service = new Logged([...this.namespace.enter, ...serve], env);
      await waitFor(
        () => this.service?.output.includes('felix-dataplane serves') ?? false,
        () => this.service?.output ?? '',
      );
    }
    this.#isStopping = false;
    this.#run([...this.namespace.enter, 'sh', '-c', PRIVATE, 'sh', felix], env);
  }

  /** As calico-node's service does: a Felix that ends for a change of its parameters is started again. */
  #run(argv: readonly string[], env: NodeJS.ProcessEnv): void {
    const felix = new Logged(argv, env);
    this.felix = felix;
    void felix.exit.then((code) => {
      if (code !== CHANGED_CODE || this.#isStopping) return;
      this.restarts += 1;
      this.#run(argv, env);
    });
  }

  /** True when Felix is gone and is not started again. */
  get hasEnded(): boolean {
    return this.felix !== null && this.felix.hasExited;
  }

  driverEnvironment(): Record<string, string> {
    return {
      DATAPLANE_LOG_FORMAT: 'json',
      DATAPLANE_LOG_LEVEL: 'debug',
      DATAPLANE_MTU_FILE: join(this.folder, 'mtu'),
      DATAPLANE_HEALTH: 'off',
      DATAPLANE_STATUS_PATH_PREFIX: this.folder,
      DATAPLANE_SERVICE: this.#socket(),
    };
  }

  /** Folder of the stream that plane `record` wrote in the last start. */
  get recording(): string {
    return join(this.folder, `recording-${this.#starts}`);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#isStopping = true;
    return (await this.felix?.stop(signal)) ?? null;
  }

  async stopService(): Promise<void> {
    await this.service?.stop();
  }

  async dump(mode: Mode): Promise<KernelDump> {
    return await dumpKernel(this.namespace, mode);
  }

  /** Statuses as a dump has them: what Felix wrote to etcd, and the files below EndpointStatusPathPrefix. */
  async statuses(): Promise<KernelDump> {
    const keys = (await this.list('/calico/felix/'))
      .filter(([key]) => !/\/(status|last_reported_status)$/.test(key))
      .map(([key, value]) => `${key} ${value}\n`);
    const folder = join(this.folder, 'endpoint-status');
    const files: string[] = [];
    for (const name of (await hostFiles.list(folder)).sort()) {
      const text = await hostFiles.read(join(folder, name));
      // Null if it is gone since the folder was listed.
      if (text !== null) files.push(`${name} ${text}\n`);
    }
    return { 'status-etcd': keys.sort().join(''), 'status-files': files.join('') };
  }

  async remove(): Promise<void> {
    await this.stop();
    await this.stopService();
    this.#client.stdin?.end();
    await this.#etcd.stop();
    await this.namespace.remove();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #socket(): string {
    return `unix:${join(this.folder, 'driver.sock')}`;
  }

  #driver(plane: Plane): string {
    if (plane === 'pipe') return EXECUTABLE;
    if (plane !== 'record') return RELAY;
    const script = join(this.folder, `record-${this.#starts}`);
    writeFileSync(script, `#!/bin/sh\nexec ${EXECUTABLE} record --driver ${EXECUTABLE} --out ${this.recording}\n`);
    chmodSync(script, 0o755);
    return script;
  }

  async #do(requests: readonly object[]): Promise<readonly (readonly [string, string])[]> {
    const answer = await this.#ask(requests);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.found ?? [];
  }

  #ask(requests: readonly object[]): Promise<Answer> {
    return new Promise((resolve) => {
      this.#answers.once('line', (line) => resolve(JSON.parse(line) as Answer));
      this.#client.stdin?.write(`${JSON.stringify(requests)}\n`);
    });
  }
}
