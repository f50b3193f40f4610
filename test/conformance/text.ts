// How two dumps differ, as text.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KernelDump } from '../kernel/support/dump.js';

/** Names of the files in which two dumps differ. */
export function differingFiles(one: KernelDump, other: KernelDump): string[] {
  return Object.keys({ ...one, ...other }).filter((file) => (one[file] ?? '') !== (other[file] ?? ''));
}

/** A unified diff, `-` for the first. */
export function differenceText(one: KernelDump, other: KernelDump): string {
  const folder = mkdtempSync(join(tmpdir(), 'fdp-diff-'));
  try {
    return differingFiles(one, other)
      .map((file) => {
        writeFileSync(join(folder, 'a'), one[file] ?? '');
        writeFileSync(join(folder, 'b'), other[file] ?? '');
        return `== ${file}\n${diff(join(folder, 'a'), join(folder, 'b'))}`;
      })
      .join('\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function diff(a: string, b: string): string {
  try {
    return execFileSync('diff', ['-U1', a, b], { encoding: 'utf8' });
  } catch (error) {
    // diff ends with 1 when there is a difference.
    return String((error as { stdout?: unknown }).stdout ?? error);
  }
}
