// The ways to the kernel, chosen once at start by what works: in-process netlink, tools kept open, or tools started for
// each call. Behind the same seams, so that nothing above notices.
import { errorMessage, NetlinkError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { SLICE_MS, TimeSlices } from '../base/time-slices.js';
import type { Clock } from '../base/clock.js';
import type { OpenFrameSocket } from '../interfaces/frame-socket.js';
import type { SysctlLister } from '../interfaces/link-kernel.js';
import type { LinkEventSource } from '../interfaces/link-events.js';
import { MonitorProcessSource } from '../interfaces/link-events.js';
import { NetlinkEventSource } from '../interfaces/netlink-events.js';
import { createFrameSocketOpener } from '../interfaces/packet-frames.js';
import { commandIpSetIo } from '../ipsets/command-io.js';
import type { IpSetIo } from '../ipsets/kernel-set.js';
import { netlinkIpSetIo } from '../ipsets/netlink-io.js';
import { startBroker } from '../kernel/broker.js';
import type { CommandRunner } from '../kernel/command.js';
import { FileLock } from '../kernel/file-lock.js';
import { CoprocessRunner } from '../kernel/coprocess-runner.js';
import { ConntrackNetlink } from '../kernel/netlink/conntrack.js';
import { IpsetNetlink } from '../kernel/netlink/ipset.js';
import { IpsetIndex } from '../kernel/netlink/ipset-index.js';
import { LibNftables } from '../kernel/netlink/libnftables.js';
import { loadNativeLibrary, type NativeLibrary } from '../kernel/netlink/library.js';
import { NfTablesNetlink } from '../kernel/netlink/nf-tables.js';
import { NfTablesReader } from '../kernel/netlink/nf-tables-read.js';
import type { TaggedRules } from '../kernel/netlink/tagged-rules.js';
import { XtablesMemory } from '../kernel/netlink/xtables-memory.js';
import { XtablesSocket } from '../kernel/netlink/xtables-socket.js';
import { XtablesReader } from '../kernel/netlink/xtables-reader.js';
import { startProcessStream } from '../kernel/process-stream.js';
import { CommandRouteKernel } from '../routes/command-kernel.js';
import type { FlowDeletion } from '../routes/netlink-conntrack.js';
import type { Family, TableName } from '../model/family.js';
import { NetlinkRouteKernel } from '../routes/netlink-kernel.js';
import { NetlinkWireguard } from '../routes/netlink-wireguard.js';
import type { RouteKernel } from '../routes/route-kernel.js';
import type { WireguardControl } from '../routes/wireguard.js';
import { CommitLedger } from '../tables/commit-ledger.js';
import type { IptablesIo } from '../tables/iptables/io.js';
import type { IptablesBackend } from '../tables/iptables/backend.js';
import { LegacyIptablesIo } from '../tables/iptables/legacy-io.js';
import { NetlinkIptablesIo } from '../tables/iptables/netlink-io.js';
import { HASH_COMMENT_PREFIX } from '../tables/ownership.js';
import { CommandNftIo } from '../tables/nftables/command-io.js';
import type { NftIo } from '../tables/nftables/io.js';
import { NetlinkNftIo } from '../tables/nftables/netlink-io.js';
import type { Metrics } from '../metrics/metrics.js';
import { countCommands, countIpSets, countNft } from './counted-io.js';
import { limitHeapGrowth } from './heap-growth.js';
import type { KernelDriver } from './options.js';

/** What the dataplane reaches the kernel through. */
export interface KernelAccess {
  /** Which form serves which part, for the start-up line and `status`. */
  readonly description: Readonly<Record<'routes' | 'links' | 'ipsets' | 'nftables' | 'iptables', string>>;
  /** Runs commands outside of this process; restores go to tools that are kept open, unless `spawn` is forced. */
  readonly runner: CommandRunner;
  readonly routes: RouteKernel;
  readonly ipSets: IpSetIo;
  readonly nft: NftIo;
  /** Counts commits to nf_tables; null where its generation cannot be read cheaply. */
  readonly commits: CommitLedger | null;
  /** What iptables rules are known by, without a tool; null without native access. */
  readonly taggedRules: Readonly<Record<'legacy' | 'nft', TaggedRulesSource>> | null;
  /** Rules by netlink (nft variant) or setsockopt (legacy), before a tool that does what is left; null without native access. */
  readonly nativeIptables: ((tool: IptablesIo, variant: IptablesBackend) => IptablesIo) | null;
  /** Sysctls of many interfaces at once by netlink; null without native access. */
  readonly sysctls: SysctlLister | null;
  /** Tracked flows by netlink; null without native access. */
  readonly flows: FlowDeletion | null;
  /** Wireguard devices by generic netlink; null without native access. */
  readonly wireguard: WireguardControl | null;
  /** Raw Ethernet sockets; null without native access. */
  readonly openFrameSocket: OpenFrameSocket | null;
  /** A new source of link news; one for each dataplane, which stops it. */
  openLinkEvents(): LinkEventSource;
  close(): Promise<void>;
}

/** Null when the kernel does not answer, or the table does not stand still. */
export type TaggedRulesSource = (family: Family, table: TableName) => Promise<TaggedRules | null>;

/** What the ways are opened with. */
export interface KernelAccessOptions {
  readonly driver: KernelDriver;
  /** argv that starts the broker process. */
  readonly brokerEntry: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

interface NativeParts {
  readonly library: NativeLibrary;
  readonly ipset: IpsetNetlink;
  readonly conntrack: ConntrackNetlink;
  readonly xtables: XtablesReader;
  readonly xtablesMemory: XtablesMemory;
  readonly nfTables: NfTablesReader;
  readonly wireguard: NetlinkWireguard;
  readonly routes: (tools: RouteKernel) => NetlinkRouteKernel;
}

/**
 * Opens the ways. `auto` takes netlink part by part where it works; `native` insists on it, `spawn` does without.
 * @throws Error when `native` is asked for and does not work.
 */
export function openKernelAccess(options: KernelAccessOptions): KernelAccess {
  const { driver, clock, log, metrics } = options;
  const broker = countCommands(startBroker({ entry: options.brokerEntry, log }), metrics);
  const runner = driver === 'spawn' ? broker : new CoprocessRunner(broker, log);
  const text = driver === 'spawn' ? 'spawn' : 'co-process';
  const tools = new CommandRouteKernel({ runner, logger: log });
  const commandNft = new CommandNftIo({ runner });
  const native = driver === 'spawn' || driver === 'coprocess' ? null : openNative(driver === 'native', log);
  const nft = native === null ? null : openNativeNft(native, commandNft, driver === 'native', clock, log);
  const iptables = native === null ? null : openNativeIptables(native, clock, nft?.ledger);
  const routes = native?.routes(tools) ?? null;
  return {
    description: {
      routes: routes === null ? 'spawn' : 'netlink',
      links: native === null ? 'ip monitor' : 'netlink',
      ipsets: native === null ? text : 'netlink',
      nftables: nft === null ? text : 'netlink and libnftables',
      iptables: native === null ? text : 'netlink, setsockopt and co-process',
    },
    runner,
    routes: routes ?? tools,
    ipSets: countIpSets(native === null ? commandIpSetIo(runner) : netlinkIpSetIo(native.ipset, clock), metrics),
    nft: countNft(nft?.io ?? commandNft, metrics),
    commits: nft?.ledger ?? null,
    taggedRules: native === null ? null : taggedRulesOf(native, clock),
    nativeIptables: iptables?.before ?? null,
    sysctls: routes,
    flows: native?.conntrack ?? null,
    wireguard: native?.wireguard ?? null,
    openFrameSocket: native === null ? null : createFrameSocketOpener(native.library),
    openLinkEvents: () =>
      native === null
        ? new MonitorProcessSource({ startStream: startProcessStream, clock, logger: log })
        : new NetlinkEventSource(native.library),
    close: async () => {
      routes?.close();
      native?.ipset.close();
      native?.conntrack.close();
      native?.wireguard.close();
      native?.nfTables.close();
      iptables?.close();
      await nft?.close();
      await broker.close();
    },
  };
}

function openNative(required: boolean, log: Logger): NativeParts | null {
  const { library, reason } = loadNativeLibrary();
  if (library === null) return giveUp(required, reason, log);
  try {
    const xtablesMemory = new XtablesMemory(library);
    return {
      library,
      ipset: new IpsetNetlink(library),
      conntrack: new ConntrackNetlink(library),
      xtables: new XtablesReader(library, HASH_COMMENT_PREFIX, xtablesMemory),
      xtablesMemory,
      nfTables: new NfTablesReader(library, HASH_COMMENT_PREFIX),
      wireguard: new NetlinkWireguard(library),
      routes: (tools) => new NetlinkRouteKernel(library, tools),
    };
  } catch (error) {
    return giveUp(required, errorMessage(error), log);
  }
}

function taggedRulesOf({ xtables, nfTables }: NativeParts, clock: Clock): NonNullable<KernelAccess['taggedRules']> {
  return {
    legacy: (family, table) => xtables.taggedRules(family, table),
    nft: async (family, table) => {
      try {
        const slices = new TimeSlices(clock, SLICE_MS);
        return await nfTables.listTaggedRules(family === 4 ? 'ip' : 'ip6', table, slices);
      } catch (error) {
        if (error instanceof NetlinkError) return null;
        throw error;
      }
    },
  };
}

function openNativeNft(
  { library, nfTables: reader }: NativeParts,
  fallback: NftIo,
  required: boolean,
  clock: Clock,
  log: Logger,
): { readonly io: NftIo; readonly ledger: CommitLedger; close(): Promise<void> } | null {
  const opened = LibNftables.open();
  if (opened.library === null) return giveUp(required, opened.reason, log);
  const netlink = new NfTablesNetlink(library);
  const ledger = new CommitLedger(() => netlink.generation());
  return {
    io: new NetlinkNftIo({ library: opened.library, netlink, reader, fallback, clock, ledger }),
    ledger,
    close: async () => {
      await opened.library.close();
      netlink.close();
    },
  };
}

/** Sockets are opened when the first table is made: nobody needs them in other modes. */
function openNativeIptables(
  parts: NativeParts,
  clock: Clock,
  ledger: CommitLedger | undefined,
): { before(tool: IptablesIo, variant: IptablesBackend): IptablesIo; close(): void } {
  const closers: (() => void)[] = [];
  const { library } = parts;
  return {
    before: (tool, variant) => {
      if (variant === 'legacy') return legacyIo(parts, tool, clock, (close) => closers.push(close));
      const open = (): NfTablesNetlink => new NfTablesNetlink(library);
      const netlink = { 4: open(), 6: open(), short: open() };
      const sets = new IpsetIndex(library);
      closers.push(() => {
        netlink[4].close();
        netlink[6].close();
        netlink.short.close();
        sets.close();
      });
      // Ticks come when no promise is left that is settled.
      const allWait = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));
      const options = { netlink, sets, tool, clock, allWait };
      return new NetlinkIptablesIo({ ...options, ...(ledger === undefined ? {} : { ledger }) });
    },
    close: () => {
      for (const close of closers) close();
    },
  };
}

/** What its structs are known for. */
const LEGACY_ARCHITECTURES: ReadonlySet<string> = new Set(['x64', 'arm64']);
/** Where iptables has its lock, if the environment does not say another. */
const XTABLES_LOCK = '/run/xtables.lock';

function legacyIo(
  { library, xtables, xtablesMemory: memory }: NativeParts,
  tool: IptablesIo,
  clock: Clock,
  onClose: (close: () => void) => void,
): IptablesIo {
  if (!LEGACY_ARCHITECTURES.has(process.arch)) return tool;
  const sockets = { 4: XtablesSocket.open(library, 4), 6: XtablesSocket.open(library, 6) };
  const sets = new IpsetIndex(library);
  onClose(() => {
    sockets[4]?.close();
    sockets[6]?.close();
    sets.close();
  });
  const lock = new FileLock(library, process.env['XTABLES_LOCKFILE'] ?? XTABLES_LOCK);
  const readTags = xtables.taggedRulesIn.bind(xtables);
  limitHeapGrowth();
  return new LegacyIptablesIo({ sockets, lock, sets, tool, clock, memory, readTags });
}

function giveUp(required: boolean, reason: string, log: Logger): null {
  if (required) throw new Error(`DATAPLANE_KERNEL_DRIVER=native cannot be had: ${reason}`);
  log.info('Working without native kernel access, slower but complete', { reason });
  return null;
}
