// Writes the sysctls of workload interfaces: reads first, writes only what differs (dataplane.md 2.4). Of many interfaces
// netlink tells nearly all values at once; what it doesn't tell is read from its file.
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { HostFiles } from '../kernel/files.js';
import { TurnCache } from '../kernel/turn-cache.js';
import type { OperationObserver } from '../model/operation.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { InterfaceSysctls, SysctlWrite } from './interface-settings.js';
import type { ListedSysctls, SysctlLister } from './link-kernel.js';

interface Request {
  readonly interfaceName: string;
  readonly writes: readonly SysctlWrite[];
  /** `done`: carried out; `gone`: the interface was not there, it will be asked for again when it comes up. */
  state: 'waiting' | 'done' | 'gone';
}

/** Names that stand for every interface, or would lead out of an interface's own folder. */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['', '.', '..', 'all', 'default']);

const NET = 'net/';
const FOLDER = /^ipv[46]\/(?:conf|neigh)\/$/;
const SETTING = /^[a-z0-9_]+$/;

/** `ipv4/conf/rp_filter` of `net/ipv4/conf/cali1/rp_filter`; null for a path that is not one of the interface's own. */
function settingOf(interfaceName: string, path: string): string | null {
  if (FORBIDDEN_NAMES.has(interfaceName) || interfaceName.includes('/') || !path.startsWith(NET)) return null;
  const at = path.indexOf('/', path.indexOf('/', NET.length) + 1) + 1;
  const end = at + interfaceName.length;
  if (!path.startsWith(interfaceName, at) || path[end] !== '/') return null;
  const folder = path.slice(NET.length, at);
  const setting = path.slice(end + 1);
  return FOLDER.test(folder) && SETTING.test(setting) ? folder + setting : null;
}

/** From so many requests on, and from this share of all on, one listing of all links is cheaper than reading files. */
const LISTING_FROM = 100;
const LISTING_SHARE = 16;

/** What netlink told of the sysctls, for the requests that were made before it was asked. */
class SysctlListing {
  readonly #values: ReadonlyMap<string, ListedSysctls>;
  readonly #requests: ReadonlySet<Request>;
  readonly #written = new Set<string>();
  /** Empty once the event loop turned: others may have written since then. */
  readonly #turn = new TurnCache<true>();

  constructor(values: ReadonlyMap<string, ListedSysctls>, requests: ReadonlySet<Request>) {
    this.#values = values;
    this.#requests = requests;
    this.#turn.get(() => true);
  }

  /**
   * Whether the sysctl has the value that is wanted. Null where the file has to be asked: not told, written since, asked
   * for since by an interface that may be a new one of the same name, or a value that was right before the event loop
   * turned. One that was wrong then is written without asking: it is right afterwards, whatever it was.
   */
  isRight(request: Request, { path, value }: SysctlWrite): boolean | null {
    if (!this.#requests.has(request) || (this.#written.size > 0 && this.#written.has(path))) return null;
    const setting = settingOf(request.interfaceName, path);
    const listed = setting === null ? undefined : this.#values.get(request.interfaceName)?.[setting];
    if (listed === undefined) return null;
    if (String(listed) !== value) return false;
    return this.#turn.peek() === null ? null : true;
  }

  onWritten(path: string): void {
    this.#written.add(path);
  }
}

/** Requests by interface and owner. An apply costs the requests made since the last one. */
export class InterfaceSysctlsReconciler implements InterfaceSysctls, Reconciler {
  readonly name = 'interface-sysctls';
  readonly #files: HostFiles;
  readonly #logger: Logger;
  readonly #observe: OperationObserver;
  readonly #procSys: string;
  readonly #lister: SysctlLister | null;
  readonly #requests = new Map<string, Request>();
  readonly #waiting = new Set<string>();

  constructor(options: {
    readonly files: HostFiles;
    readonly logger: Logger;
    readonly observe: OperationObserver;
    /** `/proc/sys`; another folder in tests. */
    readonly procSys: string;
    /** Tells what `procSys` has, of many interfaces at once; null where it can't be had. */
    readonly lister: SysctlLister | null;
  }) {
    this.#files = options.files;
    this.#logger = options.logger;
    this.#observe = options.observe;
    this.#procSys = options.procSys;
    this.#lister = options.lister;
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
    const listing = await this.#list();
    for (const id of [...this.#waiting]) {
      const request = this.#requests.get(id);
      if (request === undefined) continue;
      const outcome = await this.#carryOut(request, listing);
      operations += outcome.operations;
      // Asked for anew, or no longer, while we wrote: that request is judged by its own turn.
      if (this.#requests.get(id) !== request) continue;
      request.state = outcome.state;
      if (outcome.state === 'waiting') failed = true;
      else this.#waiting.delete(id);
    }
    return { refused: [], operations, ...(failed ? { failed } : {}) };
  }

  /** Null when few wait, or netlink doesn't answer: then files are read. */
  async #list(): Promise<SysctlListing | null> {
    const count = this.#waiting.size;
    if (this.#lister === null || count < LISTING_FROM || count * LISTING_SHARE < this.#requests.size) return null;
    const requests = [...this.#waiting].map((id) => this.#requests.get(id)).filter((request) => request !== undefined);
    try {
      return new SysctlListing(await this.#lister.listSysctls(), new Set(requests));
    } catch (error) {
      this.#logger.debug('Sysctls could not be listed, reading their files', { error: errorMessage(error) });
      return null;
    }
  }

  async #carryOut(
    request: Request,
    listing: SysctlListing | null,
  ): Promise<{ operations: number; state: Request['state'] }> {
    let operations = 0;
    for (const write of request.writes) {
      const isRight = listing?.isRight(request, write) ?? null;
      if (isRight === true) continue;
      try {
        if (await this.#write(request.interfaceName, write, isRight === false)) operations += 1;
        listing?.onWritten(write.path);
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
  async #write(interfaceName: string, write: SysctlWrite, isKnownToDiffer: boolean): Promise<boolean> {
    if (settingOf(interfaceName, write.path) === null) {
      throw new Error(`Sysctl path ${write.path} is not one of ${interfaceName}`);
    }
    const path = `${this.#procSys}/${write.path}`;
    if (!isKnownToDiffer && (await this.#files.read(path))?.trim() === write.value) return false;
    await this.#files.write(path, write.value);
    this.#observe({ room: 'interfaces', verb: 'write-sysctl', object: write.path });
    return true;
  }

  async #exists(interfaceName: string): Promise<boolean> {
    return (await this.#files.list(`${this.#procSys}/net/ipv4/conf/${interfaceName}`)).length > 0;
  }
}
