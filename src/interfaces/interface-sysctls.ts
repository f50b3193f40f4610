// Writes the sysctls of workload interfaces: reads first, writes only what differs (dataplane.md 2.4).
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { HostFiles } from '../kernel/files.js';
import type { OperationObserver } from '../model/operation.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { InterfaceSysctls, SysctlWrite } from './interface-settings.js';

interface Request {
  readonly interfaceName: string;
  readonly writes: readonly SysctlWrite[];
  /** `done`: carried out; `gone`: the interface was not there, it will be asked for again when it comes up. */
  state: 'waiting' | 'done' | 'gone';
}

/** Names that stand for every interface, or would lead out of an interface's own folder. */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['', '.', '..', 'all', 'default']);

/** A sysctl of one interface; its name. */
const SAFE_PATH = /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\/[a-z0-9_]+$/;

function isSafe(interfaceName: string, path: string): boolean {
  if (FORBIDDEN_NAMES.has(interfaceName) || interfaceName.includes('/')) return false;
  return SAFE_PATH.exec(path)?.[1] === interfaceName;
}

/** Requests by interface and owner. An apply costs the requests made since the last one. */
export class InterfaceSysctlsReconciler implements InterfaceSysctls, Reconciler {
  readonly name = 'interface-sysctls';
  readonly #files: HostFiles;
  readonly #logger: Logger;
  readonly #observe: OperationObserver;
  readonly #procSys: string;
  readonly #requests = new Map<string, Request>();
  readonly #waiting = new Set<string>();

  constructor(options: {
    readonly files: HostFiles;
    readonly logger: Logger;
    readonly observe: OperationObserver;
    /** `/proc/sys`; another folder in tests. */
    readonly procSys: string;
  }) {
    this.#files = options.files;
    this.#logger = options.logger;
    this.#observe = options.observe;
    this.#procSys = options.procSys;
  }

  request(interfaceName: string, owner: string, writes: readonly SysctlWrite[]): void {
    const id = `${interfaceName} ${owner}`;
    this.#requests.set(id, { interfaceName, writes, state: 'waiting' });
    this.#waiting.add(id);
  }

  forget(interfaceName: string, owner: string): void {
    const id = `${interfaceName} ${owner}`;
    this.#requests.delete(id);
    this.#waiting.delete(id);
  }

  isConfigured(interfaceName: string, owner: string): boolean {
    return this.#requests.get(`${interfaceName} ${owner}`)?.state === 'done';
  }

  queueResync(): void {
    for (const [id, request] of this.#requests) if (request.state === 'done') this.#waiting.add(id);
  }

  async apply(): Promise<ApplyResult> {
    let operations = 0;
    let failed = false;
    for (const id of [...this.#waiting]) {
      const request = this.#requests.get(id);
      if (request === undefined) continue;
      const outcome = await this.#carryOut(request);
      operations += outcome.operations;
      // Asked for anew, or no longer, while we wrote: that request is judged by its own turn.
      if (this.#requests.get(id) !== request) continue;
      request.state = outcome.state;
      if (outcome.state === 'waiting') failed = true;
      else this.#waiting.delete(id);
    }
    return { refused: [], operations, ...(failed ? { failed } : {}) };
  }

  async #carryOut(request: Request): Promise<{ operations: number; state: Request['state'] }> {
    let operations = 0;
    for (const write of request.writes) {
      try {
        if (await this.#write(request.interfaceName, write)) operations += 1;
      } catch (error) {
        if (!(await this.#exists(request.interfaceName))) return { operations, state: 'gone' };
        const fields = { sysctl: write.path, value: write.value, error: errorMessage(error) };
        if (write.bestEffort === true) {
          this.#logger.debug('Sysctl could not be set, going on without', fields);
          continue;
        }
        this.#logger.warn('Sysctl could not be set, the endpoint stays down until it can', fields);
        return { operations, state: 'waiting' };
      }
    }
    return { operations, state: 'done' };
  }

  /** Returns whether anything was written. */
  async #write(interfaceName: string, write: SysctlWrite): Promise<boolean> {
    if (!isSafe(interfaceName, write.path)) throw new Error(`Sysctl path ${write.path} is not one of ${interfaceName}`);
    const path = `${this.#procSys}/${write.path}`;
    const current = await this.#files.read(path);
    if (current?.trim() === write.value) return false;
    await this.#files.write(path, write.value);
    this.#observe({ room: 'interfaces', verb: 'write-sysctl', object: write.path });
    return true;
  }

  async #exists(interfaceName: string): Promise<boolean> {
    return (await this.#files.list(`${this.#procSys}/net/ipv4/conf/${interfaceName}`)).length > 0;
  }
}
