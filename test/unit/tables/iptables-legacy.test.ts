// What of iptables-legacy is left to the tool, and what becomes of a write that fails halfway.
import { describe, expect, test } from 'vitest';
import { ToolError } from '../../../src/base/errors.js';
import { SLICE_MS, TimeSlices } from '../../../src/base/time-slices.js';
import { XtablesMemory } from '../../../src/kernel/netlink/xtables-memory.js';
import {
  COUNTER_BYTES,
  ENTRIES_AT,
  type XtablesInfo,
  XTABLES_LAYOUTS,
} from '../../../src/kernel/netlink/xtables-socket.js';
import { LegacyBlob } from '../../../src/tables/iptables/legacy-blob.js';
import { LegacyIptablesIo } from '../../../src/tables/iptables/legacy-io.js';
import { chainFoot, chainHead } from '../../../src/tables/iptables/legacy-rule.js';
import { compileLegacyScript } from '../../../src/tables/iptables/legacy-script.js';
import { isStamped, stampOf } from '../../../src/tables/iptables/legacy-stamp.js';
import { FakeClock } from '../../fakes/clock.js';
import { MUTE } from '../../fakes/native-library.js';

const slices = (): TimeSlices => new TimeSlices(new FakeClock(), SLICE_MS);
const SET = { index: 3, family: 4 } as const;
const compile = (script: string): ReturnType<typeof compileLegacyScript> =>
  compileLegacyScript(4, script, (name) => (name === 'cali40s' ? SET : null), slices());

describe('scripts', () => {
  test('chains that are emptied, written, and deleted', async () => {
    const script = await compile(
      '*filter\n:cali-a - -\n:cali-b - -\n-A cali-a --jump DROP\n-I FORWARD --jump cali-a\n-I FORWARD -j ACCEPT\n--delete-chain cali-b\nCOMMIT\n',
    );
    expect(script?.table).toBe('filter');
    const edits = [...(script?.edits.values() ?? [])].map((edit) => ({
      ...edit,
      rules: edit.rules.length,
      rulesInFront: edit.rulesInFront.map(({ chain }) => chain ?? 'none'),
    }));
    expect(edits).toEqual([
      { name: 'cali-a', isEmptied: true, isDeleted: false, rulesInFront: [], rules: 1 },
      { name: 'cali-b', isEmptied: true, isDeleted: true, rulesInFront: [], rules: 0 },
      { name: 'FORWARD', isEmptied: false, isDeleted: false, rulesInFront: ['none', 'cali-a'], rules: 0 },
    ]);
  });

  test.each([
    ['a rule by its number', '*filter\n-R cali-a 1 --jump DROP\nCOMMIT\n'],
    ['a deletion by number', '*filter\n-D cali-a 1\nCOMMIT\n'],
    ['a deletion by value', '*filter\n-D FORWARD -j cali-a\nCOMMIT\n'],
    ['two transactions', '*filter\n:cali-a - -\nCOMMIT\n*filter\n:cali-b - -\nCOMMIT\n'],
    ['a policy', '*filter\n:FORWARD DROP [0:0]\nCOMMIT\n'],
    ['a table that is not ours', '*security\n:cali-a - -\nCOMMIT\n'],
    ['a hook that the table has not', '*raw\n-A FORWARD -j ACCEPT\nCOMMIT\n'],
    ['DROP in nat', '*nat\n:cali-a - -\n-A cali-a --jump DROP\nCOMMIT\n'],
    ['a set that is not there', '*filter\n:cali-a - -\n-A cali-a -m set --match-set cali40t src\nCOMMIT\n'],
    [
      'options of tcp in two places',
      '*filter\n-A cali-a -p tcp --dport 1 -m tcp --tcp-flags FIN,SYN,RST,ACK SYN\nCOMMIT\n',
    ],
    ['deletion of a chain that holds rules', '*filter\n:cali-a - -\n-A cali-a\n--delete-chain cali-a\nCOMMIT\n'],
    ['a rule in a chain that was deleted', '*filter\n:cali-a - -\n--delete-chain cali-a\n-A cali-a\nCOMMIT\n'],
    ['no COMMIT', '*filter\n:cali-a - -\n'],
    ['half a line', '*filter\n:cali-a - -\nCOMMIT'],
  ])('%s is the tool’s', async (_, script) => {
    expect(await compile(script)).toBeNull();
  });
});

/** A table with nothing but one hook and chains without rules. */
function tableOf(chains: readonly string[]): { info: XtablesInfo; memory: Buffer } {
  const policy = chainFoot(4);
  const end = chainHead(4, 'ERROR');
  const parts = [policy, ...chains.flatMap((name) => [chainHead(4, name), chainFoot(4)]), end];
  const entries = Buffer.concat(parts);
  const memory = XtablesMemory.allocate(entries.length);
  entries.copy(memory, ENTRIES_AT);
  const offsets = [undefined, undefined, 0, undefined, undefined];
  return { info: { hookEntries: offsets, underflows: offsets, entries: parts.length, size: entries.length }, memory };
}

describe('tables', () => {
  test('in the order of iptables are understood', async () => {
    const { info, memory } = tableOf(['cali-a', 'cali-b']);
    expect((await LegacyBlob.parse(4, info, memory, slices()))?.info()).toEqual(info);
  });

  test.each([
    ['chains in another order', ['cali-b', 'cali-a'], 0],
    ['another number of entries', ['cali-a'], 1],
  ])('%s: not understood', async (_, chains, more) => {
    const { info, memory } = tableOf(chains);
    expect(await LegacyBlob.parse(4, { ...info, entries: info.entries + more }, memory, slices())).toBeNull();
  });

  test('a table grows in place where there is room, and not beyond the greatest size', async () => {
    const script = await compile(SCRIPT);
    if (script === null) throw new Error('not compiled');
    const { info, memory } = tableOf([]);
    const whole = info.size + script.newBytes;
    for (const [maxSize, isChanged] of [
      [whole - 1, false],
      [whole, true],
    ] as const) {
      const blob = await LegacyBlob.parse(4, info, memory, slices());
      expect(await blob?.apply(script.edits, memory.subarray(ENTRIES_AT), maxSize, slices())).toBe(isChanged);
      expect(blob?.memory).toBe(memory);
      expect(blob?.size).toBe(isChanged ? whole : info.size);
    }
  });

  test('cut off: not understood', async () => {
    const { info, memory } = tableOf(['cali-a']);
    const cut = { ...info, size: info.size - chainHead(4, 'x').length };
    expect(await LegacyBlob.parse(4, cut, memory, slices())).toBeNull();
  });
});

describe('the stamp of a table in memory', () => {
  /** Where the counters of the entry behind the only hook's chain are. */
  const countersAt = chainFoot(4).length + XTABLES_LAYOUTS[4].counters;

  test('is what the head of the first chain counts', () => {
    const { info, memory } = tableOf(['cali-a', 'cali-b']);
    const entries = memory.subarray(ENTRIES_AT);
    entries.fill(7, countersAt, countersAt + COUNTER_BYTES);
    const stamp = stampOf(4, info, entries);
    expect(stamp).toEqual({ size: info.size, countersAt, counters: Buffer.alloc(COUNTER_BYTES, 7) });
    if (stamp === null) throw new Error('no stamp');
    expect(isStamped(stamp, info.size, entries)).toBe(true);
    expect(isStamped(stamp, info.size + 8, entries)).toBe(false);
    // The memory is used again for another table.
    entries.fill(0);
    expect(isStamped(stamp, info.size, entries)).toBe(false);
  });

  test.each([
    ['a chain that nobody gave one', ['cali-a']],
    ['no chain', []],
  ])('%s: none', (_, chains) => {
    const { info, memory } = tableOf(chains);
    expect(stampOf(4, info, memory.subarray(ENTRIES_AT))).toBeNull();
  });

  test('a table without hooks, or cut off: none', () => {
    const { info, memory } = tableOf(['cali-a']);
    const entries = memory.subarray(ENTRIES_AT).fill(7, countersAt, countersAt + COUNTER_BYTES);
    expect(stampOf(4, { ...info, underflows: info.underflows.map(() => undefined) }, entries)).toBeNull();
    expect(stampOf(4, { ...info, size: countersAt }, entries)).toBeNull();
  });
});

/** Above 128 KiB. */
const LONG_SCRIPT = `*filter\n:cali-a - -\n${'-A cali-a --jump ACCEPT\n'.repeat(6_000)}COMMIT\n`;
const SCRIPT = '*filter\n:cali-a - -\n-A cali-a --jump ACCEPT\nCOMMIT\n';

interface Story {
  readonly isLocked?: boolean;
  readonly replace?: (table: string) => Promise<boolean>;
  readonly addCounters?: () => Promise<boolean>;
  /** Told what is done with memory. */
  readonly onMemory?: (what: string) => void;
}

function ioOf({ isLocked, replace, addCounters, onMemory }: Story): {
  io: LegacyIptablesIo;
  toTool: string[];
  held: () => number;
} {
  const toTool: string[] = [];
  let held = 0;
  const { info, memory } = tableOf(['cali-a']);
  const unused = (): never => {
    throw new Error('not asked for');
  };
  const io = new LegacyIptablesIo({
    sockets: {
      4: {
        info: () => info,
        entries: (_table, _size, into) => {
          memory.copy(into);
          return Promise.resolve(true);
        },
        firstEntries: () => {
          onMemory?.('asked for its stamp');
          return Promise.resolve(null);
        },
        replace: replace ?? (() => Promise.resolve(true)),
        addCounters: addCounters ?? (() => Promise.resolve(true)),
      },
      6: null,
    },
    lock: {
      tryTake: () => {
        if (isLocked === true) return null;
        held += 1;
        return () => {
          held -= 1;
        };
      },
    },
    sets: { find: () => null },
    clock: new FakeClock(),
    memory: new XtablesMemory({ ...MUTE, discard: () => onMemory?.('given back') }),
    readTags: unused,
    tool: {
      save: unused,
      readTags: unused,
      isAsKnown: unused,
      epoch: () => null,
      restore: (_family, script) => {
        toTool.push(script);
        return Promise.resolve();
      },
    },
  });
  return { io, toTool, held: () => held };
}

describe('writes', () => {
  test('our own need no tool', async () => {
    const { io, toTool, held } = ioOf({});
    await io.restore(4, SCRIPT);
    expect([toTool, held()]).toEqual([[], 0]);
  });

  test.each([
    ['the lock is held', 4, { isLocked: true }],
    ['the family has no socket', 6, {}],
    ['the kernel refuses it', 4, { replace: () => Promise.resolve(false) }],
  ] as const)('%s: the tool does it', async (_, family, story) => {
    const { io, toTool, held } = ioOf(story);
    await io.restore(family, SCRIPT);
    expect([toTool, held()]).toEqual([[SCRIPT], 0]);
  });

  test('both families and several tables share the lock', async () => {
    const waiting: (() => void)[] = [];
    const replace = (): Promise<boolean> => new Promise((resolve) => waiting.push(() => resolve(true)));
    const { io, held } = ioOf({ replace });
    const writes = [io.restore(4, SCRIPT), io.restore(4, SCRIPT.replace('filter', 'raw'))];
    while (waiting.length < 2) await Promise.resolve();
    expect(held()).toBe(1);
    for (const go of waiting) go();
    await Promise.all(writes);
    expect(held()).toBe(0);
  });

  test('a long script is to come: the table that was kept is given back, once, and read again by the next write', async () => {
    const said: string[] = [];
    const { io } = ioOf({ onMemory: (what) => said.push(what) });
    io.expectLongScript(4, 'filter');
    expect(said).toEqual([]);
    await io.restore(4, SCRIPT);
    io.expectLongScript(6, 'filter');
    io.expectLongScript(4, 'raw');
    expect(said).toEqual([]);
    io.expectLongScript(4, 'filter');
    io.expectLongScript(4, 'filter');
    expect(said).toEqual(['given back']);
    await io.restore(4, SCRIPT);
    expect(said).toEqual(['given back']);
    await io.restore(4, SCRIPT);
    expect(said.slice(1)).toEqual(['asked for its stamp', 'given back']);
  });

  test('a long script needs no tool either; the table it changed is not kept', async () => {
    const said: string[] = [];
    const { io, toTool } = ioOf({ onMemory: (what) => said.push(what) });
    await io.restore(4, LONG_SCRIPT);
    expect([toTool, said]).toEqual([[], ['given back']]);
    await io.restore(4, SCRIPT);
    expect(said).toEqual(['given back']);
  });

  test('long scripts come one after the other, short ones do not wait for them', async () => {
    const waiting: string[] = [];
    let release = (): void => undefined;
    const replace = (table: string): Promise<boolean> => {
      waiting.push(table);
      return table === 'filter' ? new Promise((resolve) => (release = () => resolve(true))) : Promise.resolve(true);
    };
    const { io } = ioOf({ replace });
    const first = io.restore(4, LONG_SCRIPT);
    const second = io.restore(4, LONG_SCRIPT.replace('filter', 'mangle'));
    while (waiting.length === 0) await new Promise(setImmediate);
    await io.restore(4, SCRIPT.replace('filter', 'raw'));
    expect(waiting).toEqual(['filter', 'raw']);
    release();
    await Promise.all([first, second]);
    expect(waiting).toEqual(['filter', 'raw', 'mangle']);
  });

  test('counters cannot be added: somebody wrote meanwhile, the table is to be read again', async () => {
    const { io, toTool, held } = ioOf({ addCounters: () => Promise.resolve(false) });
    await expect(io.restore(4, SCRIPT)).rejects.toThrow(ToolError);
    expect([toTool, held()]).toEqual([[], 0]);
  });

  test('what cannot fail fails: nobody knows what is in force, and from then on the tool does all', async () => {
    const { io, toTool, held } = ioOf({ replace: () => Promise.reject(new Error('no thread')) });
    await expect(io.restore(4, SCRIPT)).rejects.toThrow('Cannot tell whether the kernel took the rules: no thread');
    await io.restore(4, SCRIPT);
    expect([toTool, held()]).toEqual([[SCRIPT], 0]);
  });
});
