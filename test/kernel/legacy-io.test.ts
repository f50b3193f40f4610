// Our own writes of legacy tables, while others write them too: what they change stays, whether they take the lock or
// not, and what the kernel refuses is reported as the tool reports it.
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { createNamespace } from './support/namespace.js';
import { temporaryFolder } from './support/processes.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('legacy-io');

interface Written {
  readonly reads: number;
  readonly checks: number;
  readonly tool: number;
  readonly error: string;
  readonly line: number;
}

interface Told {
  readonly foreignChanges: Readonly<
    Record<'first' | 'again' | 'afterMore' | 'afterSameSize' | 'afterPolicy' | 'afterZero' | 'last', Written>
  > & { readonly saved: readonly string[] };
  readonly unlockedWriter: { readonly written: Written; readonly saved: readonly string[] };
  readonly heldLock: {
    readonly written: Written;
    readonly wasDoneWhileHeld: boolean;
    readonly after: Written;
  };
  readonly checks: Readonly<Record<string, string | boolean>>;
  readonly checksWithoutTable: Readonly<Record<string, unknown>>;
  readonly refused: Readonly<Record<'own' | 'missing' | 'referred' | 'deletion' | 'next', Written>> & {
    readonly byTool: string;
    readonly saved: readonly string[];
  };
}

let told: Told;

beforeAll(async () => {
  const namespace = await createNamespace('legio');
  const folder = temporaryFolder();
  try {
    const program = ['env', `XTABLES_LOCKFILE=${join(folder.path, 'lock')}`, ...PROGRAM];
    told = JSON.parse(await namespace.run(program)) as Told;
  } finally {
    await namespace.remove();
    folder.remove();
  }
});

const OWN_AND_READ = { reads: 1, tool: 0, error: '' };
const OWN_FROM_MEMORY = { reads: 0, checks: 1, tool: 0, error: '' };

describe('others change the table between our writes', () => {
  test('nobody does: it is read once', () => {
    expect(told.foreignChanges.first).toMatchObject(OWN_AND_READ);
    expect(told.foreignChanges.again).toMatchObject(OWN_FROM_MEMORY);
    expect(told.foreignChanges.last).toMatchObject(OWN_FROM_MEMORY);
  });

  test.each(['afterMore', 'afterSameSize', 'afterPolicy', 'afterZero'] as const)('%s: it is read again', (name) => {
    expect(told.foreignChanges[name]).toMatchObject(OWN_AND_READ);
  });

  test('what they wrote stays, and nothing of what we know the table by is printed', () => {
    expect(told.foreignChanges.saved).toEqual([
      ':INPUT ACCEPT [0:0]',
      ':FORWARD DROP [0:0]',
      ':OUTPUT ACCEPT [0:0]',
      ':cali-a - [0:0]',
      '[0:0] -A FORWARD -s 10.0.0.2/32 -j ACCEPT',
      '[0:0] -A cali-a -j RETURN',
    ]);
  });
});

test('one who takes no lock and writes after we looked: the tool writes, and both changes are there', () => {
  expect(told.unlockedWriter.written).toMatchObject({ tool: 1, error: '' });
  expect(told.unlockedWriter.saved).toContain('[0:0] -A INPUT -s 10.0.0.3/32 -j ACCEPT');
  expect(told.unlockedWriter.saved).toContain('[0:0] -A cali-a -j DROP');
});

test('somebody holds the lock: the tool waits for it, the event loop does not', () => {
  expect(told.heldLock.wasDoneWhileHeld).toBe(false);
  expect(told.heldLock.written).toMatchObject({ tool: 1, error: '' });
  expect(told.heldLock.after).toMatchObject(OWN_AND_READ);
});

test('whether our rules are there is asked for by the stamp, and by the rules after others wrote', () => {
  expect(told.checks).toEqual({
    first: 'true',
    again: 'true',
    afterOwn: 'true',
    afterFlush: 'false, read',
    afterFlushAndWrite: 'false',
    mended: 'true',
    byTool: true,
  });
});

test('so it is where the table is not kept, also by a process that did not write it', () => {
  expect(told.checksWithoutTable).toEqual({
    first: 'true, read',
    again: 'true',
    afterOwn: 'true',
    inNewProcess: { first: 'true, read', again: 'true' },
    afterOther: 'false, read',
    mended: { first: 'true, read', again: 'true' },
    foreign: ['true, read', 'true, read'],
  });
});

describe('what is refused', () => {
  test('by the kernel: the tool says the line', () => {
    expect(told.refused.own).toMatchObject({ checks: 1, tool: 1, error: told.refused.byTool });
    expect(told.refused.own.line).toBeGreaterThan(0);
  });

  test('a jump to a chain that is not there, a chain that others lead to', () => {
    expect(told.refused.missing).toMatchObject({ tool: 1, line: 3 });
    expect(told.refused.referred).toMatchObject({ tool: 0, error: '' });
    expect(told.refused.deletion).toMatchObject({ tool: 1, line: 3 });
  });

  test('nothing of it is in force, and the next write is our own', () => {
    expect(told.refused.next).toMatchObject(OWN_AND_READ);
    expect(told.refused.saved).toEqual([
      ':INPUT ACCEPT [0:0]',
      ':FORWARD ACCEPT [0:0]',
      ':OUTPUT ACCEPT [0:0]',
      ':cali-a - [0:0]',
      ':cali-c - [0:0]',
      '[0:0] -A FORWARD -j cali-c',
      '[0:0] -A cali-a -j DROP',
    ]);
  });
});
