// Small files of the host: procfs, sysfs, status files. The daemon's only file access outside transports.
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** File operations that the dataplane needs; all paths absolute. */
export interface HostFiles {
  /** The text, or null when there is no such file. Other failures reject. */
  read(path: string): Promise<string | null>;
  /** Writes in place (procfs, sysfs). Rejects on failure; never creates a file. */
  write(path: string, text: string): Promise<void>;
  /** Writes a new file beside it and renames, with its folder made first: readers see all or nothing. */
  replace(path: string, text: string, mode: number): Promise<void>;
  /** Removes a file; a missing one is fine. */
  remove(path: string): Promise<void>;
  /** Names in a folder; empty when it does not exist. */
  list(path: string): Promise<string[]>;
  /** A text that changes whenever the file is written or replaced; null when there is no such file. */
  stamp(path: string): Promise<string | null>;
}

/** Folder of files that the kernel keeps in memory: there a call takes microseconds, its way through a thread 0.3 ms. */
const SYSCTLS = '/proc/sys/';
/** So many synchronous calls in a row, then everything else has its turn. */
const CALLS_PER_TURN = 256;
let calls = 0;

async function takeTurn(): Promise<void> {
  calls += 1;
  if (calls % CALLS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** The real host's files. */
export const hostFiles: HostFiles = {
  async read(path) {
    try {
      if (!path.startsWith(SYSCTLS)) return await readFile(path, 'utf8');
      await takeTurn();
      return readFileSync(path, 'utf8');
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
  async write(path, text) {
    if (!path.startsWith(SYSCTLS)) return writeFile(path, text, { flag: 'r+' });
    await takeTurn();
    writeFileSync(path, text, { flag: 'r+' });
  },
  async replace(path, text, mode) {
    const folder = dirname(path);
    // The process id keeps two drivers on one folder (a takeover) from writing into each other's file.
    const temporary = join(folder, `.${process.pid}.tmp`);
    try {
      await writeFile(temporary, text, { mode });
    } catch (error) {
      if (!isMissing(error)) throw error;
      await mkdir(folder, { recursive: true, mode: 0o755 });
      await writeFile(temporary, text, { mode });
    }
    await rename(temporary, path);
  },
  async remove(path) {
    await rm(path, { force: true });
  },
  async list(path) {
    try {
      return await readdir(path);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },
  async stamp(path) {
    try {
      const { ino, size, mtimeNs } = await stat(path, { bigint: true });
      return `${ino} ${size} ${mtimeNs}`;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
};
