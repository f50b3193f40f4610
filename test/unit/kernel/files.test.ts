// Files of the host: alike on a disk, where calls go through a thread, and in memory, where they don't.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { hostFiles } from '../../../src/kernel/files.js';

const folders: string[] = [];

function folderIn(parent: string): string {
  const folder = mkdtempSync(join(parent, 'fdp-files-'));
  folders.push(folder);
  return folder;
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe.each([
  ['on a disk or what stands for it', tmpdir()],
  ['in memory', '/dev/shm'],
])('hostFiles, %s', (_, parent) => {
  test('a file is made with its folder, read, replaced, stamped, listed and removed', async () => {
    const folder = join(folderIn(parent), 'status');
    const path = join(folder, 'k8s pod eth0');
    expect(await hostFiles.list(folder)).toEqual([]);
    expect(await hostFiles.read(path)).toBeNull();
    expect(await hostFiles.stamp(path)).toBeNull();
    await hostFiles.remove(path);
    await hostFiles.replace(path, 'one', 0o640);
    expect(await hostFiles.read(path)).toBe('one');
    expect(statSync(path).mode & 0o777).toBe(0o640);
    const stamp = await hostFiles.stamp(path);
    expect(await hostFiles.stamp(path)).toBe(stamp);
    await hostFiles.replace(path, 'two', 0o640);
    expect(await hostFiles.stamp(path)).not.toBe(stamp);
    expect(await hostFiles.list(folder)).toEqual(['k8s pod eth0']);
    await hostFiles.remove(path);
    expect(await hostFiles.list(folder)).toEqual([]);
  });

  test.each([0, 1, 1023, 1024, 1025, 5000])('a file of %d characters is read whole', async (length) => {
    const path = join(folderIn(parent), 'file');
    const text = 'xyz'.repeat(length).slice(0, length);
    await hostFiles.replace(path, text, 0o640);
    expect(await hostFiles.read(path)).toBe(text);
    await hostFiles.replace(path, `ä${text}ü`, 0o640);
    expect(await hostFiles.read(path)).toBe(`ä${text}ü`);
  });

  test('a folder in the place of a file is an error, not a missing file', async () => {
    const folder = folderIn(parent);
    await expect(hostFiles.read(folder)).rejects.toMatchObject({ code: 'EISDIR' });
  });

  test('write never creates a file', async () => {
    await expect(hostFiles.write(join(folderIn(parent), 'none'), '1')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('everything else has its turn within many calls', async () => {
    const path = join(folderIn(parent), 'file');
    await hostFiles.replace(path, 'text', 0o644);
    let turns = 0;
    setImmediate(() => (turns += 1));
    for (let call = 0; call < 600; call += 1) await hostFiles.read(path);
    expect(turns).toBe(1);
  });
});
