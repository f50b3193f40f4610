// Endpoint status files: what CNI waits for before it starts a pod, and where confd finds local BGP peers. Felix can't
// write them with an external driver, because it never learns that we are in sync (dataplane.md 0.1, ops.md 3).
import type { Clock, Timer } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { pathEscape } from '../base/path-escape.js';
import type { HostFiles } from '../kernel/files.js';
import type { WorkloadEndpoint, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import type { WorkloadStatus } from './status-combiner.js';

const FOLDER = 'endpoint-status';
const FILE_MODE = 0o644;
const RELIST_MS = 10_000;
/** Each listing looks at the stamps of at least so many files, and of this share, so that all had their turn in 180 s. */
const MIN_LOOKED_AT = 32;
const SHARE_LOOKED_AT = 18;
/** Felix's back-off: 50 ms, times ten, at most 5 s. */
const FIRST_RETRY_MS = 50;
const RETRY_FACTOR = 10;
const MAX_RETRY_MS = 5_000;

/** The name of an endpoint's file: its three ids, each path-escaped, joined by a blank (libcalico-go/lib/names). */
export function statusFileName(id: WorkloadEndpointID): string {
  return [id.orchestratorId, id.workloadId, id.endpointId].map(pathEscape).join(' ');
}

/** The text of an endpoint's file, byte for byte what Felix writes (libcalico-go/lib/epstatusfile): empty values left out. */
export function statusFileText(endpoint: WorkloadEndpoint): string {
  const peer = endpoint.localBgpPeer?.bgpPeerName ?? '';
  const text = JSON.stringify({
    ...(endpoint.name === '' ? {} : { ifaceName: endpoint.name }),
    ...(endpoint.mac === '' ? {} : { mac: endpoint.mac }),
    ...(endpoint.ipv4Nets.length === 0 ? {} : { ipv4Nets: endpoint.ipv4Nets }),
    ...(endpoint.ipv6Nets.length === 0 ? {} : { ipv6Nets: endpoint.ipv6Nets }),
    ...(peer === '' ? {} : { bgpPeerName: peer }),
  });
  // Go escapes these in strings, and outside of strings JSON has none of them.
  return text.replaceAll(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What the files are written with. */
export interface EndpointStatusFilesOptions {
  /** EndpointStatusPathPrefix; the files are in `endpoint-status` below it. Empty = nothing is ever written. */
  readonly prefix: string;
  readonly files: HostFiles;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Keeps one file for each endpoint that is up, from the moment of `inSync` on: then stale files of an earlier run go,
 * and every 10 s the folder is listed again and put right: files that came or went at once, files whose text somebody
 * changed within 180 s. A report costs its own file. Writes nothing that already stands there. Failures are logged and
 * retried; they never reach the caller.
 */
export class EndpointStatusFiles {
  readonly #options: EndpointStatusFilesOptions;
  readonly #folder: string;
  readonly #desired = new Map<string, string>();
  #known = new Map<string, string | null>();
  /** Stamps of the files when they were last read. */
  #stamps = new Map<string, string>();
  readonly #dirty = new Set<string>();
  #isInSync = false;
  #mustRelist = true;
  /** Files before this name had their turn of the present round; empty = the round begins. */
  #lookedUpTo = '';
  #isStopped = false;
  #timer: Timer | null = null;
  #relistAtMs = 0;
  #retryMs = FIRST_RETRY_MS;
  #work: Promise<void> | null = null;

  constructor(options: EndpointStatusFilesOptions) {
    this.#options = options;
    this.#folder = `${options.prefix.replace(/\/+$/, '')}/${FOLDER}`;
    this.#isStopped = options.prefix === '';
  }

  /** Takes an endpoint's combined status: `up` wants a file, anything else none. */
  report(workload: WorkloadStatus): void {
    const name = statusFileName(workload.id);
    if (workload.status === 'up' && workload.endpoint !== null) {
      this.#desired.set(name, statusFileText(workload.endpoint));
    } else {
      this.#desired.delete(name);
    }
    this.#dirty.add(name);
    this.#wake();
  }

  /** The dataplane is in sync: all endpoints have been reported. May be called again, to no effect. */
  inSync(): void {
    this.#isInSync = true;
    this.#wake();
  }

  /** Settles when no work is under way. */
  async idle(): Promise<void> {
    while (this.#work !== null) await this.#work;
  }

  /** Ends all work and leaves the files as they are. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.idle();
  }

  #wake(): void {
    if (!this.#isInSync || this.#isStopped || this.#work !== null) return;
    this.#timer?.cancel();
    this.#work = this.#run().then((isSettled) => {
      this.#work = null;
      // A report may have come after the last look at what is dirty.
      if (isSettled && this.#dirty.size > 0) this.#wake();
    });
  }

  /** Returns whether all went well. */
  async #run(): Promise<boolean> {
    // Lets the reports of one apply come together.
    await Promise.resolve();
    const errors: string[] = [];
    if (this.#mustRelist) await this.#relist(errors);
    while (this.#dirty.size > 0 && errors.length === 0 && !this.#isStopped) await this.#settle(errors);
    if (this.#isStopped) return false;
    if (errors.length > 0) {
      this.#options.logger.warn('Endpoint status files could not be written; trying again', {
        folder: this.#folder,
        failures: errors.length,
        first: errors[0],
        retryMs: this.#retryMs,
      });
      this.#again(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * RETRY_FACTOR, MAX_RETRY_MS);
      return false;
    }
    this.#retryMs = FIRST_RETRY_MS;
    this.#again(Math.max(0, this.#relistAtMs - this.#options.clock.nowMs()));
    return true;
  }

  #again(delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#mustRelist = true;
      this.#wake();
    });
  }

  /** Lists the folder and reads the files that changed since the last look; whatever is not as wanted becomes dirty. */
  async #relist(errors: string[]): Promise<void> {
    const { files } = this.#options;
    const known = new Map<string, string | null>();
    const stamps = new Map<string, string>();
    try {
      const names = (await files.list(this.#folder)).sort();
      const isTheirTurn = this.#takeTurn(names);
      for (const name of names) {
        const text = this.#known.get(name);
        const stamp = this.#stamps.get(name);
        if (text === undefined || stamp === undefined || isTheirTurn(name)) {
          await this.#look(name, known, stamps);
        } else {
          known.set(name, text);
          stamps.set(name, stamp);
        }
      }
    } catch (error) {
      errors.push(errorMessage(error));
      return;
    }
    this.#known = known;
    this.#stamps = stamps;
    this.#mustRelist = false;
    this.#relistAtMs = this.#options.clock.nowMs() + RELIST_MS;
    for (const [name, text] of known) if (text !== this.#desired.get(name)) this.#dirty.add(name);
    for (const name of this.#desired.keys()) if (!known.has(name)) this.#dirty.add(name);
  }

  /** Whose stamps are asked for by this listing: the next ones in the order of names. */
  #takeTurn(names: readonly string[]): (name: string) => boolean {
    const after = this.#lookedUpTo;
    const last = names.filter((name) => name > after)[
      Math.max(MIN_LOOKED_AT, Math.ceil(names.length / SHARE_LOOKED_AT))
    ];
    this.#lookedUpTo = last ?? '';
    return (name) => name > after && (last === undefined || name <= last);
  }

  async #look(name: string, known: Map<string, string | null>, stamps: Map<string, string>): Promise<void> {
    const stamp = await this.#options.files.stamp(`${this.#folder}/${name}`);
    if (stamp !== null) stamps.set(name, stamp);
    const text = stamp !== null && stamp === this.#stamps.get(name) ? this.#known.get(name) : undefined;
    const current = text ?? (await this.#readFile(name));
    if (current !== undefined) known.set(name, current);
  }

  /** The text of a file; null if it can't be read (to be replaced), undefined for a folder (left alone, as by Felix). */
  async #readFile(name: string): Promise<string | null | undefined> {
    try {
      return await this.#options.files.read(`${this.#folder}/${name}`);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EISDIR') return undefined;
      return null;
    }
  }

  async #settle(errors: string[]): Promise<void> {
    const { files } = this.#options;
    for (const name of [...this.#dirty]) {
      if (this.#isStopped) return;
      // Read now, not before the loop: reports go on coming while files are written.
      this.#dirty.delete(name);
      const wanted = this.#desired.get(name);
      try {
        if (wanted === undefined) {
          if (!this.#known.has(name)) continue;
          await files.remove(`${this.#folder}/${name}`);
          this.#known.delete(name);
          this.#stamps.delete(name);
        } else if (this.#known.get(name) !== wanted) {
          await files.replace(`${this.#folder}/${name}`, wanted, FILE_MODE);
          this.#known.set(name, wanted);
          this.#stamps.delete(name);
        }
      } catch (error) {
        this.#dirty.add(name);
        errors.push(`${name}: ${errorMessage(error)}`);
      }
    }
  }
}
