// Where a service is tested: a namespace with the interfaces of a recording, a socket path, and services on it. Made before
// each test, gone after it.
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { createNamespace, type Namespace } from './namespace.js';
import { Program, temporaryFolder } from './program.js';

/** The place of the test that runs. */
export class ServicePlace {
  readonly #cleanups: (() => unknown)[] = [];
  #namespace: Namespace | null = null;
  #path = '';

  get namespace(): Namespace {
    if (this.#namespace === null) throw new Error('No test is running');
    return this.#namespace;
  }

  /** Of the service's socket. */
  get path(): string {
    return this.#path;
  }

  /** Called after the test; the last one first. */
  onEnd(...cleanups: readonly (() => unknown)[]): void {
    this.#cleanups.push(...cleanups);
  }

  /** A service that is ready, on the place's socket unless `args` have another address. */
  async serve(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Program> {
    const listen = args.includes('--listen') ? [] : ['--listen', `unix:${this.path}`];
    const service = new Program(['serve', ...listen, ...args], { enter: this.namespace.enter, environment });
    this.onEnd(() => service.stop());
    await service.logged('felix-dataplane serves');
    return service;
  }

  async open(name: string, hostScript: string): Promise<void> {
    const namespace = await createNamespace(name);
    this.#namespace = namespace;
    const folder = temporaryFolder();
    this.onEnd(
      () => namespace.remove(),
      () => folder.remove(),
    );
    this.#path = join(folder.path, 'driver.sock');
    await namespace.shell(hostScript);
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
    this.#namespace = null;
  }
}

/** A place for each test of the file; `hostScript` makes its interfaces. */
export function useServicePlace(name: string, hostScript: string): ServicePlace {
  const place = new ServicePlace();
  beforeEach(() => place.open(name, hostScript));
  afterEach(() => place.close());
  return place;
}
