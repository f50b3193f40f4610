// Watches the node's links and addresses and tells of every change (dataplane.md 2.8): news as they come, a full listing
// at start, on a timer, and whenever news may have been lost.
import type { Clock, Timer } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { FAMILIES } from '../model/family.js';
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';
import { FlapDamper, type InterfaceNews } from './flap-damper.js';
import type { LinkEvent, LinkEventSource } from './link-events.js';
import { LOCAL_TABLE, type LinkLister, type ListedLink, type ListedRoute } from './link-kernel.js';
import { LinkState } from './link-state.js';

/** A failed listing is tried again after this long; until the first succeeds nothing is in sync. */
const RETRY_DELAY_MS = 1_000;

/** From so many links on, all addresses are listed at once: the kernel walks all of them for each link. */
const MANY_LINKS = 8;

/** What a monitor is made with. */
export interface InterfaceMonitorOptions {
  readonly source: LinkEventSource;
  readonly lister: LinkLister;
  readonly clock: Clock;
  readonly logger: Logger;
  /** InterfaceExclude: names, or `/regex/`. State is told, addresses are not. */
  readonly interfaceExclude: readonly string[];
  /** Workload interfaces: nobody asks for their addresses, and there are many. */
  readonly workloadPrefixes: readonly string[];
  /** InterfaceRefreshInterval; 0 = never. */
  readonly refreshIntervalMs: number;
}

function excludePattern(text: string): (name: string) => boolean {
  const regex = /^\/(.*)\/$/.exec(text);
  if (regex === null) return (name) => name === text;
  const compiled = new RegExp(regex[1] ?? '');
  return (name) => compiled.test(name);
}

function addressOf(dst: string): string {
  return dst.slice(0, dst.indexOf('/'));
}

/** Tells states, addresses, and once that the first full listing has been told. Callbacks must not throw. */
export class InterfaceMonitor {
  readonly #options: InterfaceMonitorOptions;
  readonly #damper: FlapDamper;
  /** Index by name as the newest news have it, ahead of what is told. */
  readonly #newestIndex = new Map<string, number>();
  /** Indexes that news or a listing have told of. */
  readonly #knownIndexes = new Set<number>();
  /** Links of which news came while a listing was under way: the listing is older than what they say. */
  readonly #touched = new Set<number>();
  readonly #toList = new Set<number>();
  readonly #tracksAddresses: (name: string) => boolean;
  #state = new LinkState(
    { onState: () => undefined, onAddresses: () => undefined, onStaleAddresses: () => undefined },
    () => false,
  );
  #onInSync: () => void = () => undefined;
  #needsFullListing = false;
  #isListing = false;
  #isInSync = false;
  #stopped = false;
  #retryTimer: Timer | null = null;
  #refreshTimer: Timer | null = null;

  constructor(options: InterfaceMonitorOptions) {
    this.#options = options;
    const excludes = options.interfaceExclude.map(excludePattern);
    this.#tracksAddresses = (name) =>
      !options.workloadPrefixes.some((prefix) => name.startsWith(prefix)) && !excludes.some((matches) => matches(name));
    this.#damper = new FlapDamper(options.clock, (ifindex, news) => this.#onNews(ifindex, news));
  }

  /** Begins to watch. Called once. */
  start(
    onState: (event: InterfaceStateEvent) => void,
    onAddresses: (event: InterfaceAddressEvent) => void,
    onInSync: () => void,
  ): void {
    this.#state = new LinkState(
      { onState, onAddresses, onStaleAddresses: (ifindex) => this.#toList.add(ifindex) },
      this.#tracksAddresses,
    );
    this.#onInSync = onInSync;
    this.queueResync();
    this.#options.source.start((event) => this.#onEvent(event));
    this.#armRefresh();
  }

  stop(): void {
    this.#stopped = true;
    this.#options.source.stop();
    this.#damper.stop();
    this.#retryTimer?.cancel();
    this.#refreshTimer?.cancel();
  }

  /** Asks for a full listing. */
  queueResync(): void {
    this.#needsFullListing = true;
    this.#pump();
  }

  #armRefresh(): void {
    const { clock, refreshIntervalMs } = this.#options;
    if (refreshIntervalMs <= 0) return;
    this.#refreshTimer = clock.setTimer(refreshIntervalMs, () => {
      this.queueResync();
      this.#armRefresh();
    });
  }

  #onEvent(event: LinkEvent): void {
    if (event.kind === 'lost') {
      this.queueResync();
      return;
    }
    const ifindex = 'ifindex' in event ? event.ifindex : this.#newestIndex.get(event.interfaceName);
    if (ifindex === undefined) return;
    if (event.kind === 'link') {
      this.#newestIndex.set(event.name, ifindex);
      this.#knownIndexes.add(ifindex);
    } else if (event.kind === 'link-gone') {
      this.#knownIndexes.delete(ifindex);
      if (this.#newestIndex.get(event.name) === ifindex) this.#newestIndex.delete(event.name);
    } else if (!this.#knownIndexes.has(ifindex)) {
      // An address of a link that is not known yet is found when the link itself is told of.
      return;
    }
    if (this.#isListing) this.#touched.add(ifindex);
    this.#damper.push(ifindex, event);
  }

  #onNews(ifindex: number, news: InterfaceNews): void {
    if (this.#stopped) return;
    if (news.kind === 'address') {
      this.#state.changeAddress(ifindex, addressOf(news.dst), news.isGone);
      return;
    }
    if (news.kind === 'link-gone') this.#state.removeLink(ifindex);
    else this.#state.setLink(ifindex, news.name, news.isRunning);
    this.#pump();
  }

  /** One listing at a time; whatever is asked meanwhile is done next. */
  #pump(): void {
    if (this.#isListing || this.#stopped || this.#retryTimer !== null) return;
    if (!this.#needsFullListing && this.#toList.size === 0) return;
    this.#isListing = true;
    this.#touched.clear();
    const listing = this.#needsFullListing ? this.#listAll() : this.#listAddresses();
    listing
      .catch((error: unknown) => {
        this.#options.logger.warn('Interfaces could not be listed, will try again', { error: errorMessage(error) });
        this.#needsFullListing = true;
        this.#retryTimer = this.#options.clock.setTimer(RETRY_DELAY_MS, () => {
          this.#retryTimer = null;
          this.#pump();
        });
      })
      .finally(() => {
        this.#isListing = false;
        this.#pump();
      });
  }

  async #listAll(): Promise<void> {
    this.#needsFullListing = false;
    const links = await this.#options.lister.listLinks();
    // Workloads have two local routes each, and nobody asks for them.
    const routes = await this.#listLocalRoutes(links.map(({ name }) => name).filter(this.#tracksAddresses));
    if (this.#stopped) return;
    this.#damper.flush((ifindex) => !this.#touched.has(ifindex));
    this.#adoptLinks(links);
    this.#toList.clear();
    this.#adoptAddresses(this.#state.indexes(), routes);
    if (!this.#isInSync) {
      this.#isInSync = true;
      this.#onInSync();
    }
  }

  async #listAddresses(): Promise<void> {
    const indexes = [...this.#toList];
    this.#toList.clear();
    const names = indexes.map((ifindex) => this.#state.nameOf(ifindex)).filter((name) => name !== undefined);
    const routes = await this.#listLocalRoutes(names);
    if (!this.#stopped) this.#adoptAddresses(indexes, routes);
  }

  /** Those of the named links at least. */
  async #listLocalRoutes(names: readonly string[]): Promise<ListedRoute[]> {
    if (names.length === 0) return [];
    const { lister } = this.#options;
    const lists = await Promise.all(
      FAMILIES.map((family) =>
        names.length > MANY_LINKS
          ? lister.listRoutes(family, LOCAL_TABLE)
          : lister.listRoutes(family, LOCAL_TABLE, names),
      ),
    );
    return lists.flat();
  }

  #adoptLinks(links: readonly ListedLink[]): void {
    const listed = new Set(links.map((link) => link.ifindex));
    for (const ifindex of this.#state.indexes()) {
      if (listed.has(ifindex) || this.#touched.has(ifindex)) continue;
      this.#knownIndexes.delete(ifindex);
      this.#state.removeLink(ifindex);
    }
    for (const link of links) {
      if (this.#touched.has(link.ifindex)) continue;
      this.#newestIndex.set(link.name, link.ifindex);
      this.#knownIndexes.add(link.ifindex);
      this.#state.setLink(link.ifindex, link.name, link.isRunning);
    }
  }

  #adoptAddresses(indexes: readonly number[], routes: readonly ListedRoute[]): void {
    const byName = new Map<string, Set<string>>();
    for (const route of routes) {
      if (route.type !== 'local' || route.interfaceName === null) continue;
      const addresses = byName.get(route.interfaceName) ?? new Set<string>();
      addresses.add(addressOf(route.dst));
      byName.set(route.interfaceName, addresses);
    }
    for (const ifindex of indexes) {
      const name = this.#state.nameOf(ifindex);
      if (name === undefined || this.#state.indexOf(name) !== ifindex) continue;
      if (this.#touched.has(ifindex)) this.#toList.add(ifindex);
      else this.#state.setAddresses(ifindex, byName.get(name) ?? new Set());
    }
  }
}
