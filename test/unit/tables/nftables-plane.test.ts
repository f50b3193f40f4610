// The nftables plane over a fake kernel: what it writes, when it reads, and that it adopts what is there.
import { describe, expect, it } from 'vitest';
import type { Operation } from '../../../src/model/operation.js';
import { ACCEPT, act, chain, DROP, fillNode, from, fromSet, jump, setEndpoints, setUp } from './nftables-setup.js';

const verbs = (operations: readonly Operation[]): string[] => operations.map(({ verb, object }) => `${verb} ${object}`);

describe('NftablesPlane.apply', () => {
  it('writes table, base chains, sets, chains and maps in one transaction', async () => {
    const { plane, kernel, apply, rules, operations } = setUp();
    fillNode(plane);
    const result = await apply();
    expect(kernel.transactions.length).toBe(1);
    expect(result.refused).toEqual([]);
    expect(result.operations).toBe(operations.length);
    expect(rules('filter-FORWARD')).toEqual(['counter jump filter-cali-FORWARD', 'counter accept']);
    expect(rules('filter-cali-fw-cali1')).toEqual(['counter jump filter-cali-po-web', 'counter drop']);
    expect(rules('nat-OUTPUT')).toEqual([]);
    expect(kernel.elements('ip', 'calico', 'cali40s-web')).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(kernel.map('ip', 'calico', 'filter-cali-from-wl-dispatch')).toEqual({
      cali1: 'filter-cali-fw-cali1',
      cali2: 'filter-cali-fw-cali2',
    });
  });

  it('writes nothing on a restart over an unchanged kernel', async () => {
    const first = setUp();
    fillNode(first.plane);
    await first.apply();
    const second = setUp({ kernel: first.kernel });
    fillNode(second.plane);
    const result = await second.apply();
    expect(result.operations).toBe(0);
    expect(second.operations).toEqual([]);
    expect(first.kernel.transactions.length).toBe(1);
  });

  it('neither reads nor writes when nothing changed', async () => {
    const { plane, kernel, apply } = setUp();
    fillNode(plane);
    await apply();
    await apply();
    await apply();
    expect(kernel.listings).toBe(1);
    expect(kernel.transactions.length).toBe(1);
  });

  it('writes one new endpoint as its chain and its map element, without reading', async () => {
    const { plane, kernel, apply, operations } = setUp();
    fillNode(plane);
    await apply();
    operations.length = 0;
    plane.layer('filter').setChain(chain('cali-fw-cali3', act('drop')));
    setEndpoints(plane, ['cali1', 'cali2', 'cali3']);
    await apply();
    expect(verbs(operations)).toEqual([
      'write-chain filter/4 cali-fw-cali3',
      'write-map filter/4 cali-from-wl-dispatch',
    ]);
    expect(operations[1]?.count).toBe(1);
    expect(kernel.listings).toBe(1);
  });

  it('removes an endpoint: element first, chain last', async () => {
    const { plane, kernel, apply, rules } = setUp();
    fillNode(plane);
    await apply();
    setEndpoints(plane, ['cali2']);
    plane.layer('filter').deleteChain('cali-fw-cali1');
    await apply();
    expect(kernel.map('ip', 'calico', 'filter-cali-from-wl-dispatch')).toEqual({ cali2: 'filter-cali-fw-cali2' });
    expect(rules('filter-cali-fw-cali1')).toBeUndefined();
  });

  it('moves a map element to another chain', async () => {
    const { plane, kernel, apply } = setUp();
    fillNode(plane);
    await apply();
    const elements = new Map([
      ['cali1', 'cali-fw-cali2'],
      ['cali2', 'cali-fw-cali2'],
    ]);
    plane.layer('filter').setVerdictMap({ name: 'cali-from-wl-dispatch', elements });
    await apply();
    expect(kernel.map('ip', 'calico', 'filter-cali-from-wl-dispatch')?.['cali1']).toBe('filter-cali-fw-cali2');
  });

  it('rewrites only the changed chain', async () => {
    const { plane, apply, operations, rules } = setUp();
    fillNode(plane);
    await apply();
    operations.length = 0;
    plane.layer('filter').setChain(chain('cali-po-web', from('10.0.0.0/8', ACCEPT), fromSet('cali40s:web', DROP)));
    await apply();
    expect(verbs(operations)).toEqual(['write-chain filter/4 cali-po-web']);
    expect(rules('filter-cali-po-web')).toEqual([
      'ip saddr 10.0.0.0/8 counter accept',
      'ip saddr @cali40s-web counter drop',
    ]);
  });

  it('deletes a set in the transaction that takes its last user away', async () => {
    const { plane, kernel, apply } = setUp();
    fillNode(plane);
    await apply();
    plane.sets.removeSet('s:web');
    plane.layer('filter').setChain(chain('cali-po-web', act('drop')));
    await apply();
    expect(kernel.transactions.length).toBe(2);
    expect(kernel.elements('ip', 'calico', 'cali40s-web')).toBeUndefined();
  });

  it('turns chains around in one go: a jump that reverses is no loop', async () => {
    const { plane, apply, rules } = setUp();
    const filter = plane.layer('filter');
    filter.setInsertedRules('INPUT', [jump('cali-fw-a'), jump('cali-fw-b')]);
    filter.setChain(chain('cali-fw-a', jump('cali-fw-b')));
    filter.setChain(chain('cali-fw-b', act('drop')));
    await apply();
    filter.setChain(chain('cali-fw-b', jump('cali-fw-a')));
    filter.setChain(chain('cali-fw-a', act('drop')));
    const result = await apply();
    expect(result.refused).toEqual([]);
    expect(rules('filter-cali-fw-b')).toEqual(['counter jump filter-cali-fw-a']);
  });

  it('changes the type of a set that is in use by making the table anew', async () => {
    const { plane, kernel, apply } = setUp();
    fillNode(plane);
    await apply();
    plane.sets.setSet({ id: 's:web', type: 'hash:ip', maxSize: 1 }, ['10.0.0.9']);
    const result = await apply();
    expect(result.refused).toEqual([]);
    expect(kernel.elements('ip', 'calico', 'cali40s-web')).toEqual(['10.0.0.9']);
    expect(kernel.transactions.length).toBe(2);
  });

  it('creates an own set that a static rule names before any manager filled it', async () => {
    const { plane, kernel, apply } = setUp();
    plane.layer('mangle').setInsertedRules('POSTROUTING', [jump('cali-POSTROUTING')]);
    plane.layer('mangle').setChain(chain('cali-POSTROUTING', fromSet('cali40this-host', { kind: 'return' })));
    const result = await apply();
    expect(result.refused).toEqual([]);
    expect(kernel.elements('ip', 'calico', 'cali40this-host')).toEqual([]);
  });

  it('programs a forced chain that nothing refers to, and takes it away with its mark', async () => {
    const { plane, apply, rules } = setUp();
    fillNode(plane);
    const filter = plane.layer('filter');
    filter.setChain({ ...chain('cali-pi-needed', act('accept')), forced: true });
    filter.setChain(chain('cali-pi-unneeded', act('accept')));
    await apply();
    expect(rules('filter-cali-pi-needed')).toEqual(['counter accept']);
    expect(rules('filter-cali-pi-unneeded')).toBeUndefined();
    filter.setChain(chain('cali-pi-needed', act('accept')));
    await apply();
    expect(rules('filter-cali-pi-needed')).toBeUndefined();
  });

  it('keeps what a manager asks for while a transaction is under way', async () => {
    const { plane, kernel, apply } = setUp();
    fillNode(plane);
    kernel.afterTransaction = () => {
      plane.sets.addMembers('s:web', ['10.0.0.3']);
      plane.sets.removeMembers('s:web', ['10.0.0.1']);
      kernel.afterTransaction = () => undefined;
    };
    await apply();
    expect(kernel.elements('ip', 'calico', 'cali40s-web')).toEqual(['10.0.0.1', '10.0.0.2']);
    await apply();
    expect(kernel.elements('ip', 'calico', 'cali40s-web')).toEqual(['10.0.0.2', '10.0.0.3']);
  });
});

describe('NftablesPlane resync', () => {
  const DAMAGE: readonly (readonly [string, string])[] = [
    ['a chain flushed by hand', 'flush chain ip calico filter-cali-fw-cali1'],
    ['a rule added by hand', 'add rule ip calico filter-cali-po-web counter accept'],
    ['a base chain flushed by hand', 'flush chain ip calico filter-FORWARD'],
    ['a map emptied by hand', 'flush map ip calico filter-cali-from-wl-dispatch'],
    [
      'a map element moved',
      'delete element ip calico filter-cali-from-wl-dispatch { "cali1" }\nadd element ip calico filter-cali-from-wl-dispatch { "cali1" : goto filter-cali-po-web }',
    ],
    ['a member added by hand', 'add element ip calico cali40s-web { 10.9.0.0/16 }'],
    ['a member deleted by hand', 'delete element ip calico cali40s-web { 10.0.0.1 }'],
    ['a set deleted by hand', 'flush chain ip calico filter-cali-po-web\ndelete set ip calico cali40s-web'],
    [
      'a set of another shape in its place',
      'flush chain ip calico filter-cali-po-web\ndelete set ip calico cali40s-web\nadd set ip calico cali40s-web { type inet_service; }',
    ],
    ['a foreign chain in our table', 'add chain ip calico theirs\nadd rule ip calico theirs counter drop'],
    ['a foreign base chain in our table', 'add chain ip calico theirs { type filter hook input priority 0; }'],
    [
      'a foreign set and map',
      'add set ip calico theirs { type inet_proto; }\nadd map ip calico alsotheirs { type ifname : verdict; }',
    ],
    [
      'a foreign map to one of our chains',
      'add map ip calico theirs { type ifname : verdict; }\nadd element ip calico theirs { "x" : goto filter-cali-po-web }',
    ],
    [
      'a foreign map to a foreign chain',
      'add chain ip calico filter-cali-theirs\nadd map ip calico theirs { type ifname : verdict; }\nadd element ip calico theirs { "x" : goto filter-cali-theirs }',
    ],
    [
      'a base chain with another priority',
      'flush chain ip calico nat-INPUT\ndelete chain ip calico nat-INPUT\nadd chain ip calico nat-INPUT { type nat hook input priority 5; }',
    ],
    [
      'a base chain with policy drop',
      'flush chain ip calico nat-INPUT\ndelete chain ip calico nat-INPUT\nadd chain ip calico nat-INPUT { type nat hook input priority -100; policy drop; }',
    ],
    ['a base chain deleted by hand', 'flush chain ip calico filter-FORWARD\ndelete chain ip calico filter-FORWARD'],
    ['the table deleted', 'delete table ip calico'],
    ['a foreign flowtable', 'add flowtable ip calico theirs { hook ingress priority 0; }'],
  ];

  it.each(DAMAGE)('repairs %s on refresh, in one transaction', async (_, script) => {
    const { plane, kernel, apply, clock } = setUp();
    fillNode(plane);
    await apply();
    const before = kernel.dump('ip', 'calico');
    kernel.foreign(script);
    expect(kernel.dump('ip', 'calico')).not.toBe(before);
    await clock.advance(180_000);
    await apply();
    expect(kernel.dump('ip', 'calico')).toBe(before);
    expect(kernel.transactions.length).toBe(2);
  });

  it.each(DAMAGE)('comes through an update right after %s, without waiting for refresh', async (_, script) => {
    const { plane, kernel, apply, clock } = setUp();
    fillNode(plane);
    await apply();
    kernel.foreign(script);
    plane.sets.addMembers('s:web', ['10.0.0.3']);
    plane.layer('filter').setChain(chain('cali-po-web', fromSet('cali40s:web', DROP)));
    const result = await apply();
    expect(result.refused).toEqual([]);
    await clock.advance(180_000);
    await apply();
    const fresh = setUp();
    fillNode(fresh.plane);
    fresh.plane.sets.addMembers('s:web', ['10.0.0.3']);
    fresh.plane.layer('filter').setChain(chain('cali-po-web', fromSet('cali40s:web', DROP)));
    await fresh.apply();
    expect(kernel.dump('ip', 'calico')).toBe(fresh.kernel.dump('ip', 'calico'));
  });

  it('does not read at refresh when the generation says that nobody changed anything', async () => {
    const { plane, kernel, apply, clock } = setUp();
    kernel.tellsGeneration = true;
    fillNode(plane);
    await apply();
    await clock.advance(180_000);
    await apply();
    plane.queueResync();
    plane.sets.queueResync();
    await apply();
    expect(kernel.listings).toBe(1);
  });

  it('reads and repairs at the next apply when the generation moved, but not for every foreign change', async () => {
    const { plane, kernel, apply, clock } = setUp();
    kernel.tellsGeneration = true;
    fillNode(plane);
    await apply();
    await clock.advance(2_000);
    kernel.foreign('flush chain ip calico filter-cali-fw-cali1');
    await apply();
    expect(kernel.rules('ip', 'calico', 'filter-cali-fw-cali1')?.length).toBe(2);
    expect(kernel.listings).toBe(2);
    kernel.foreign('flush chain ip calico filter-cali-fw-cali1');
    const result = await apply();
    expect(kernel.listings).toBe(2);
    expect(result.rescheduleAfterMs).toBeLessThanOrEqual(1_000);
    await clock.advance(1_000);
    await apply();
    expect(kernel.rules('ip', 'calico', 'filter-cali-fw-cali1')?.length).toBe(2);
  });

  it('asks to be called again at its refresh interval, and never with refresh off', async () => {
    const on = setUp({ refreshIntervalMs: 90_000 });
    expect((await on.apply()).rescheduleAfterMs).toBe(90_000);
    const off = setUp({ refreshIntervalMs: 0 });
    expect((await off.apply()).rescheduleAfterMs).toBeUndefined();
  });
});
