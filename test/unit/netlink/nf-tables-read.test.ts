// Listings of nf_tables from the bytes of a dump; what the kernel and nft make of them is in test/kernel/nft-listing.test.ts.
import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../../../src/base/ip.js';
import { attributeText, MessageWriter, parseAttributes } from '../../../src/kernel/netlink/message.js';
import { type ListedTable, NfTablesReader } from '../../../src/kernel/netlink/nf-tables-read.js';
import { type DumpAnswer, type DumpedMessage, dumpingLibrary } from '../../fakes/netlink-dumps.js';

const GET = { table: 1, chain: 4, rule: 7, set: 10, element: 13 } as const;
const NO_SLICES = { isOver: () => false, pause: (): Promise<void> => Promise.reject(new Error('no pause was due')) };

function inTable(write: DumpedMessage): DumpedMessage {
  return (writer) => write(writer.u8(2).u8(0).u16(0).attributeString(1, 'calico'));
}

const inOther = (writer: MessageWriter): MessageWriter => writer.u8(2).u8(0).u16(0).attributeString(1, 'other');

/** Of a table with many rules, or so the kernel says: it is read chain by chain. */
const chain = (name: string, uses = 10_000): DumpedMessage =>
  inTable((writer) => writer.attributeString(3, name).attributeU32Be(6, uses));

const baseChain = (name: string): DumpedMessage =>
  inTable((writer) =>
    writer
      .attributeString(3, name)
      .nested(4, (hook) => hook.attributeU32Be(1, 1).attributeU32Be(2, 10))
      .attributeU32Be(5, 1)
      .attributeString(7, 'filter'),
  );

function rule(chainName: string, comment: string | null): DumpedMessage {
  return (writer) => {
    writer.u8(2).u8(0).u16(0).attributeString(1, 'calico').attributeString(2, chainName).attributeU64(3, 7n);
    writer.nested(4, (expressions) => expressions.attributeString(1, 'lookup of something'));
    if (comment === null) return;
    const text = Buffer.from(`${comment}\0`);
    // A field of another type first, as nft writes some.
    writer.attribute(7, Buffer.concat([Buffer.from([2, 3, 9, 9, 9, 0, text.length]), text]));
  };
}

const set = (name: string, flags: number, keyType: number): DumpedMessage =>
  inTable((writer) => writer.attributeString(2, name).attributeU32Be(3, flags).attributeU32Be(4, keyType));

type Mark = readonly [key: Uint8Array, isEnd?: boolean];

function elements(...keys: readonly Mark[]): DumpedMessage {
  return inTable((writer) =>
    writer.attributeString(2, 's').nested(3, (list) => {
      for (const [key, isEnd = false] of keys) {
        list.nested(1, (element) => {
          element.nested(1, (value) => value.attribute(1, key));
          if (isEnd) element.attributeU32Be(3, 1);
        });
      }
    }),
  );
}

const v4 = (value: number): Buffer => Buffer.from(new MessageWriter().u32Be(value).finish());

type Datagrams = readonly (readonly DumpedMessage[])[];

interface Dumps {
  readonly chains?: Datagrams;
  /** By chain: for the rules of each the kernel is asked alone. Those of all chains are under the empty name. */
  readonly rules?: Readonly<Record<string, Datagrams>>;
  readonly sets?: Datagrams;
  readonly elements?: Datagrams;
}

function answerOf(dumps: Dumps): DumpAnswer {
  return (type, request) => {
    const attributes = parseAttributes(request.subarray(4));
    switch (type & 0xff) {
      case GET.table:
        return [[inTable(() => undefined)]];
      case GET.chain:
        return dumps.chains ?? [];
      case GET.rule:
        expect(attributeText(attributes.get(1))).toBe('calico');
        return dumps.rules?.[attributeText(attributes.get(2))] ?? [];
      case GET.set:
        return dumps.sets ?? [];
      case GET.element:
        return dumps.elements ?? [];
      default:
        return [];
    }
  };
}

async function list(
  answer: DumpAnswer,
  slices = NO_SLICES,
  interruptions = 0,
  generation?: () => number,
): Promise<ListedTable> {
  const reader = new NfTablesReader(dumpingLibrary(answer, interruptions, generation), 'cali:');
  const listed = await reader.listTable('ip', 'calico', slices);
  if (listed === null) throw new Error('no table');
  return listed;
}

const elementsOf = async (keyType: number, flags: number, ...dumped: DumpedMessage[]): Promise<readonly unknown[]> =>
  (await list(answerOf({ sets: [[set('s', flags, keyType)]], elements: dumped.map((message) => [message]) }))).sets.get(
    's',
  )?.elements ?? [];

describe('NfTablesReader', () => {
  it('knows rules by what their comments say behind the prefix, over datagrams and whatever the others are', async () => {
    const long = `cali:${'x'.repeat(200)}`;
    const { chains } = await list(
      answerOf({
        chains: [
          [chain('a'), chain('b')],
          [(writer) => inOther(writer).attributeString(3, 'b'), chain('empty'), chain('long')],
        ],
        rules: {
          a: [
            [rule('a', 'cali:H1;'), rule('a', 'cali:H2; Policy default/x ingress'), rule('a', null), rule('a', 'mine')],
            [rule('a', 'cali:H3')],
          ],
          b: [[rule('b', 'cali:H4;'), rule('b', 'calico:H5;')]],
          long: [Array.from({ length: 50 }, () => rule('long', long))],
        },
      }),
    );
    expect(Object.fromEntries([...chains].map(([name, { tags }]) => [name, tags]))).toEqual({
      a: '5:H1,H2,,,H3',
      b: '2:H4,',
      empty: '0:',
      long: `50:${Array.from({ length: 50 }, () => 'x'.repeat(200)).join()}`,
    });
  });

  it('reads a table of few rules, other tables left out, by one dump', async () => {
    const few = (name: string): DumpedMessage => chain(name, 4_000);
    const ofOther: DumpedMessage = (writer) => inOther(writer).attributeString(3, 'c').attributeU32Be(6, 4_000);
    const rules = {
      '': [[rule('a', 'cali:H1;')], [rule('a', 'cali:H2;'), rule('b', 'cali:H3;')]],
      a: [[rule('a', 'cali:H4;')]],
      b: [],
      c: [],
    };
    const one = await list(answerOf({ chains: [[few('a'), few('b'), ofOther]], rules }));
    expect(Object.fromEntries(one.chains)).toEqual({ a: { tags: '2:H1,H2' }, b: { tags: '1:H3' } });
    const byChain = await list(answerOf({ chains: [[few('a'), few('b'), few('c')]], rules }));
    expect(Object.fromEntries(byChain.chains)).toEqual({ a: { tags: '1:H4' }, b: { tags: '0:' }, c: { tags: '0:' } });
  });

  it("knows a base chain by its hook, and no other table's chains", async () => {
    const { chains } = await list(
      answerOf({
        chains: [
          [(writer) => inOther(writer).attributeString(3, 'theirs'), baseChain('in'), chain('plain')],
          [
            (writer) =>
              inOther(writer)
                .attributeString(3, 'in')
                .nested(4, (hook) => hook.attributeU32Be(1, 0)),
          ],
        ],
      }),
    );
    const base = { type: 'filter', hook: 'input', priority: 10, policy: 'accept' };
    expect(Object.fromEntries(chains)).toEqual({ in: { base, tags: '0:' }, plain: { tags: '0:' } });
  });

  it('makes prefixes of interval marks, in whatever order the kernel has them', async () => {
    const [INTERVAL, IPV4, IPV6] = [4, 7, 8];
    const at = (first: number, size: number): Mark[] => [[v4(first)], [v4(first + size), true]];
    const marks = [...at(0x0a000000, 256), ...at(0x0a000100, 1), ...at(0x0a000102, 3), [v4(0xf0000000)] as const];
    expect(
      await elementsOf(IPV4, INTERVAL, elements(...marks.slice(4).reverse()), elements(...marks.slice(0, 4))),
    ).toEqual([
      ['10.0.0.0/24', ''],
      ['10.0.1.0', ''],
      ['10.0.1.2-10.0.1.4', ''],
      ['240.0.0.0/4', ''],
    ]);
    const first = Buffer.from('fd000000000000000000000000000000', 'hex');
    const next = Buffer.from('fd000000000000010000000000000000', 'hex');
    expect(await elementsOf(IPV6, INTERVAL, elements([next, true], [first]))).toEqual([['fd00::/64', '']]);
    expect(await elementsOf(IPV4, 0, elements([v4(0x0a000001)], [v4(0x0a000002)]))).toEqual([
      ['10.0.0.1', ''],
      ['10.0.0.2', ''],
    ]);
  });

  it('hands the event loop back between datagrams, between chains, and between sets', async () => {
    let pauses = 0;
    const pause = (): Promise<void> => {
      pauses++;
      return Promise.resolve();
    };
    const slices = { isOver: () => true, pause };
    await list(
      answerOf({
        chains: [[chain('a'), ...Array.from({ length: 30 }, (_, at) => chain(`empty${at}`))]],
        rules: { a: Array.from({ length: 20 }, () => [rule('a', 'cali:H;')]) },
        sets: [Array.from({ length: 10 }, (_, at) => set(`s${at}`, 0, 7))],
        elements: [[elements([v4(1)])]],
      }),
      slices,
    );
    expect(pauses).toBeGreaterThanOrEqual(20 + 30 + 10);
  });

  it('reads again what was changed meanwhile, and gives up on a table that never stands still', async () => {
    let dumps = 0;
    const answer = answerOf({
      chains: [[chain('a')]],
      rules: {
        get a() {
          dumps++;
          return [[rule('a', `cali:${formatIpv4(dumps)};`)]];
        },
      },
    });
    expect((await list(answer, NO_SLICES, 2)).chains.get('a')?.tags).toMatch(/^1:0\.0\.0\.\d+$/);
    await expect(list(answer, NO_SLICES, 1_000)).rejects.toMatchObject({ code: 'EINTR' });
  });

  it('reads again if somebody committed between the dumps of two chains, until all are of one generation', async () => {
    let generation = 1;
    const answer = answerOf({
      chains: [[chain('a'), chain('b')]],
      rules: {
        get a() {
          const read = [[rule('a', `cali:G${generation};`)]];
          if (generation < 3) generation++;
          return read;
        },
        get b() {
          return [[rule('b', `cali:G${generation};`)]];
        },
      },
    });
    const { chains } = await list(answer, NO_SLICES, 0, () => generation);
    expect(Object.fromEntries(chains)).toEqual({ a: { tags: '1:G3' }, b: { tags: '1:G3' } });
    await expect(list(answer, NO_SLICES, 0, () => generation++)).rejects.toMatchObject({ code: 'EINTR' });
  });
});
