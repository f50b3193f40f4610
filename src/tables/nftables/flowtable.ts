// The flowtable that established flows may bypass the rules through, and the probe whether this kernel can do it
// (dataplane.md 5.6).
import type { Logger } from '../../base/logger.js';
import { complaint, type NftFamily, type NftIo } from './io.js';

/** Name of the flowtable that the offload rule names. */
export const FLOWTABLE_NAME = 'calico';

const PROBE_TABLE = 'calico-flowtable-probe';

/** What the next transaction does to the flowtable. */
export interface FlowtableChange {
  readonly created: boolean;
  /** Sorted. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** All devices afterwards. */
  readonly devices: ReadonlySet<string>;
  /** Wanted, but not in the kernel: naming one would fail the whole transaction. */
  readonly missing: readonly string[];
}

/**
 * Compares wanted devices, as far as they exist, with those of the kernel's flowtable (undefined = there is none).
 * Undefined when nothing is to be written and nothing is missing.
 */
export function planFlowtable(
  wanted: ReadonlySet<string>,
  existing: ReadonlySet<string>,
  known: ReadonlySet<string> | undefined,
): FlowtableChange | undefined {
  const devices = new Set([...wanted].filter((name) => existing.has(name)));
  const missing = [...wanted].filter((name) => !existing.has(name)).sort();
  const added = [...devices].filter((name) => known?.has(name) !== true).sort();
  // The kernel takes a device that vanished off the flowtable by itself, so naming it would fail.
  const removed = [...(known ?? [])].filter((name) => !devices.has(name) && existing.has(name)).sort();
  if (known !== undefined && added.length === 0 && removed.length === 0 && missing.length === 0) return undefined;
  return { created: known === undefined, added, removed, devices, missing };
}

/** Whether the change writes anything. */
export function flowtableWrites(change: FlowtableChange): boolean {
  return change.created || change.added.length > 0 || change.removed.length > 0;
}

/** The statements of a change. `table` is `ip calico`. */
export function flowtableStatements(table: string, change: FlowtableChange): string[] {
  const block = (devices: readonly string[]): string => {
    const list = devices.length === 0 ? '' : ` devices = { ${devices.map((name) => `"${name}"`).join(', ')} };`;
    return `${table} ${FLOWTABLE_NAME} { hook ingress priority 0;${list} }`;
  };
  const lines: string[] = [];
  if (change.removed.length > 0) lines.push(`delete flowtable ${block(change.removed)}`);
  if (change.created || change.added.length > 0) lines.push(`add flowtable ${block(change.added)}`);
  return lines;
}

/** Whether the kernel has flowtables and the `flow` statement; asks without changing anything. */
export async function probeFlowtable(io: NftIo, family: NftFamily, log: Logger): Promise<boolean> {
  const table = `${family} ${PROBE_TABLE}`;
  const lines = [
    `add table ${table}`,
    `add flowtable ${table} probe { hook ingress priority 0; }`,
    `add chain ${table} probe { type filter hook forward priority 0; }`,
    `add rule ${table} probe flow offload @probe`,
  ];
  try {
    await io.check(lines);
    return true;
  } catch (error) {
    log.warn('Flow offload is off: the kernel takes no nftables flowtable (module nf_flow_table)', {
      reason: complaint(error),
    });
    return false;
  }
}
