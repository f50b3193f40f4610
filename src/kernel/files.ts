// Small files of the host: procfs, sysfs, status files. The daemon's only file access outside transports.
import {
  type BigIntStats,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { ownCopy } from '../base/own-copy.js';

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

/** The kernel makes these up, or keeps them in memory: there a call takes microseconds, its way through a thread 0.3 ms. */
const SYSCTLS = '/proc/sys/';
const TMPFS_MAGIC = 0x01021994;
/** So many synchronous calls in a row, then everything else has its turn. */
const CALLS_PER_TURN = 256;
let calls = 0;
/** Folders, and whether they are in memory: those of status files and of the MTU file. */
const inMemory = new Map<string, boolean>();

async function takeTurn(): Promise<void> {
  calls += 1;
  if (calls % CALLS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
}

/** File calls of `node:fs/promises`, with texts for contents. */
interface FileCalls {
  readFile(path: string, encoding: 'utf8'): Promise<string>;
  writeFile(path: string, text: string, options: { readonly mode?: number; readonly flag?: string }): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options: { readonly force: boolean }): Promise<void>;
  readdir(path: string): Promise<string[]>;
  stat(path: string, options: { readonly bigint: true }): Promise<BigIntStats>;
}

/** Calls that may have to wait for a disk. */
const threaded: FileCalls = { readFile, writeFile, rename, rm, readdir, stat };

/** Calls that never wait. */
const direct: FileCalls = {
  readFile: (path, encoding) => inTurn(() => readFileSync(path, encoding)),
  writeFile: (path, text, options) => inTurn(() => writeFileSync(path, text, options)),
  rename: (from, to) => inTurn(() => renameSync(from, to)),
  rm: (path, options) => inTurn(() => rmSync(path, options)),
  readdir: (path) => inTurn(() => readdirSync(path)),
  stat: (path, options) => inTurn(() => statSync(path, options)),
};

async function inTurn<T>(call: () => T): Promise<T> {
  await takeTurn();
  return call();
}

/** What serves the files of a folder. A node's /var/run is a tmpfs. */
function callsFor(folder: string): FileCalls {
  if (`${folder}/`.startsWith(SYSCTLS)) return direct;
  let isInMemory = inMemory.get(folder);
  if (isInMemory === undefined) {
    try {
      isInMemory = statfsSync(folder).type === TMPFS_MAGIC;
    } catch {
      // Asked again once it exists; whoever wants the file says what is wrong with it.
      return threaded;
    }
    // The folder's name is a part of some file's.
    inMemory.set(ownCopy(folder), isInMemory);
  }
  return isInMemory ? direct : threaded;
}

/** Of an absolute path. */
function folderOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** The real host's files. */
export const hostFiles: HostFiles = {
  async read(path) {
    try {
      return await callsFor(folderOf(path)).readFile(path, 'utf8');
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
  async write(path, text) {
    await callsFor(folderOf(path)).writeFile(path, text, { flag: 'r+' });
  },
  async replace(path, text, mode) {
    const folder = folderOf(path);
    // The process id keeps two drivers on one folder (a takeover) from writing into each other's file.
    const temporary = `${folder}/.${process.pid}.tmp`;
    try {
      await callsFor(folder).writeFile(temporary, text, { mode });
    } catch (error) {
      if (!isMissing(error)) throw error;
      await mkdir(folder, { recursive: true, mode: 0o755 });
      await callsFor(folder).writeFile(temporary, text, { mode });
    }
    await callsFor(folder).rename(temporary, path);
  },
  async remove(path) {
    await callsFor(folderOf(path)).rm(path, { force: true });
  },
  async list(path) {
    try {
      return await callsFor(path).readdir(path);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },
  async stamp(path) {
    try {
      const { ino, size, mtimeNs } = await callsFor(folderOf(path)).stat(path, { bigint: true });
      return `${ino} ${size} ${mtimeNs}`;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
};
