// The plane over a fake kernel: what it writes, what it leaves alone, and what it costs.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_SIZE, PlaneFixture, spec, want } from './plane-fixture.js';

const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`);

describe('creation and change', () => {
  test('creates sets with canonical members of their own family', async () => {
    const host = new PlaneFixture();
    host.plane.setSet(spec('s:a'), ['10.0.0.0/8', '10.1.1.1/32', 'fd00::/64', '10.1.1.1', '172.16.5.5/16']);
    host.plane.setSet(spec('n:b', 'hash:ip,port'), ['10.0.0.1,TCP:80', '10.0.0.1,sctp:81', 'fd00::1,tcp:80']);
    host.plane.setSet(spec('all-istio-weps', 'hash:ip'), ['10.0.0.9', 'fd00::9']);
    const { apply } = await host.apply();
    expect(host.kernel.print()).toBe(
      [
        'create cali40all-istio-weps hash:ip family inet maxelem 1048576',
        'add cali40all-istio-weps 10.0.0.9',
        'create cali40n:b hash:ip,port family inet maxelem 1048576',
        'add cali40n:b 10.0.0.1,sctp:81',
        'add cali40n:b 10.0.0.1,tcp:80',
        'create cali40s:a hash:net family inet maxelem 1048576',
        'add cali40s:a 10.0.0.0/8',
        'add cali40s:a 10.1.1.1',
        'add cali40s:a 172.16.0.0/16',
        '',
      ].join('\n'),
    );
    expect(apply).toEqual({ refused: [], operations: 6 });
    expect(host.verbs()).toContain('create-set cali40s:a');
  });

  test.each([
    [4, ['0.0.0.0/0', '10.0.0.1', '::/0'], ['0.0.0.0/1', '10.0.0.1', '128.0.0.0/1']],
    [6, ['::/0', '10.0.0.1', '0.0.0.0/0'], ['8000::/1', '::/1']],
  ] as const)('all addresses of IPv%i in a whole membership are their two halves', async (family, members, halves) => {
    const host = new PlaneFixture(family);
    for (const before of [[], [family === 4 ? '10.0.0.1' : 'fd00::1']]) {
      host.plane.setSet(spec('all-hosts-net'), before);
      await host.apply();
      host.plane.setSet(spec('all-hosts-net'), members);
      expect((await host.apply()).apply.refused).toEqual([]);
      expect(host.members('all-hosts-net')).toEqual(halves);
    }
  });

  test('v6 sets are inet6 and print /128 without length', async () => {
    const host = new PlaneFixture(6);
    want(host.plane, { 's:a': ['fd00::1/128', 'FD00:0::/64', '10.0.0.1'] });
    await host.apply();
    expect(host.kernel.print()).toContain('create cali60s:a hash:net family inet6 maxelem 1048576');
    expect(host.members('s:a')).toEqual(['fd00::/64', 'fd00::1']);
  });

  test('a delta costs its own lines, no listing, one call', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': numbered(1000), 's:b': numbered(10) });
    await host.apply();
    host.kernel.lines.length = 0;
    const calls = host.runner.calls.length;
    host.plane.addMembers('s:a', ['192.168.0.1', '10.0.0.1']);
    host.plane.removeMembers('s:a', ['10.0.0.2', '1.1.1.1']);
    const { apply } = await host.apply();
    expect(host.kernel.lines).toEqual(['add cali40s:a 192.168.0.1', 'del cali40s:a 10.0.0.2']);
    expect(host.runner.calls.length - calls).toBe(1);
    expect(apply.operations).toBe(2);
  });

  test('a new set after the first apply is made without a listing', async () => {
    const host = new PlaneFixture();
    await host.apply();
    const calls = host.runner.calls.length;
    want(host.plane, { 's:new': ['10.0.0.1'] });
    await host.apply();
    expect(host.runner.calls.slice(calls).map((call) => call.argv.join(' '))).toEqual(['ipset -exist restore']);
    expect(host.members('s:new')).toEqual(['10.0.0.1']);
  });

  test('an apply without changes runs nothing', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    const calls = host.runner.calls.length;
    expect((await host.apply()).apply.operations).toBe(0);
    expect(host.runner.calls.length).toBe(calls);
  });

  test('setSet again writes only the difference, new members first', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.0/24', '10.0.5.0/24'] });
    await host.apply();
    host.kernel.lines.length = 0;
    want(host.plane, { 's:a': ['10.0.0.0/25', '10.0.0.128/25', '10.0.5.0/24'] });
    await host.apply();
    expect(host.kernel.lines).toEqual([
      'add cali40s:a 10.0.0.0/25',
      'add cali40s:a 10.0.0.128/25',
      'del cali40s:a 10.0.0.0/24',
    ]);
  });

  test('in a full set old members go first', async () => {
    const host = new PlaneFixture();
    host.plane.setSet(spec('s:a', 'hash:net', 2), ['10.0.0.1', '10.0.0.2']);
    await host.apply();
    host.plane.setSet(spec('s:a', 'hash:net', 2), ['10.0.0.3', '10.0.0.4']);
    const { apply } = await host.apply();
    expect(apply.refused).toEqual([]);
    expect(host.members('s:a')).toEqual(['10.0.0.3', '10.0.0.4']);
  });

  test('changes queued between applies take effect in order', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    host.plane.addMembers('s:a', ['10.0.0.2']);
    host.plane.removeMembers('s:a', ['10.0.0.1', '10.0.0.2']);
    host.plane.addMembers('s:a', ['10.0.0.2']);
    await host.apply();
    expect(host.members('s:a')).toEqual(['10.0.0.2']);
  });

  test('members for an unknown set are ignored', async () => {
    const host = new PlaneFixture();
    host.plane.addMembers('s:none', ['10.0.0.1']);
    expect(host.plane.hasSet('s:none')).toBe(false);
    expect((await host.apply()).apply).toEqual({ refused: [], operations: 0 });
  });

  test('a big set goes in scripts of bounded size', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:big': numbered(25_000), 's:small': ['10.0.0.1'] });
    await host.apply();
    expect(host.kernel.get('cali40s:big').members.size).toBe(25_000);
    expect(host.members('s:small')).toEqual(['10.0.0.1']);
    for (const call of host.runner.calls) expect((call.stdin ?? '').split('\n').length).toBeLessThanOrEqual(10_003);
  });
});

describe('start over an existing kernel', () => {
  test('a restart over an unchanged kernel writes nothing', async () => {
    const host = new PlaneFixture();
    const wanted = { 's:a': numbered(50), 's:b': ['10.0.0.0/8'] };
    want(host.plane, wanted);
    await host.apply();
    host.restart();
    want(host.plane, wanted);
    const { apply, deletions } = await host.apply();
    expect([apply, deletions]).toEqual([
      { refused: [], operations: 0 },
      { refused: [], operations: 0 },
    ]);
    expect(host.kernel.lines).toEqual([]);
    expect(host.operations).toEqual([]);
  });

  test('only the difference is written into a compatible set', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.1', '10.0.0.2'], { maxElem: MAX_SIZE, references: 1 });
    want(host.plane, { 's:a': ['10.0.0.2', '10.0.0.3'] });
    await host.apply();
    expect(host.kernel.lines).toEqual(['add cali40s:a 10.0.0.3', 'del cali40s:a 10.0.0.1']);
  });

  test('another maxelem is corrected by a swap, also while rules use the set', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.1'], { maxElem: 10, references: 2 });
    want(host.plane, { 's:a': numbered(20) });
    await host.applyAll();
    expect(host.kernel.get('cali40s:a')).toMatchObject({ maxElem: MAX_SIZE, references: 2 });
    expect(host.members('s:a')).toHaveLength(20);
    expect([...host.kernel.sets.keys()]).toEqual(['cali40s:a']);
    expect(host.verbs()).toEqual(['replace-set cali40s:a', 'destroy-set cali4t0']);
  });

  test.each([' timeout 60', ' counters', ' comment', ' netmask 24'])(
    'a set with the option%s is rebuilt',
    async (options) => {
      const host = new PlaneFixture();
      host.kernel.put('cali40s:a', 'hash:net', 4, [], { maxElem: MAX_SIZE, options, references: 1 });
      want(host.plane, { 's:a': ['10.0.0.1'] });
      await host.applyAll();
      expect(host.kernel.get('cali40s:a')).toMatchObject({ options: '', references: 1 });
      expect(host.members('s:a')).toEqual(['10.0.0.1']);
    },
  );

  test('a nomatch member, which we never write, makes the set be rebuilt', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.0/24 nomatch'], { maxElem: MAX_SIZE, references: 1 });
    want(host.plane, { 's:a': ['10.0.0.0/24'] });
    await host.applyAll();
    expect(host.members('s:a')).toEqual(['10.0.0.0/24']);
  });

  test('a wrong type that nothing uses is destroyed and made anew', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'bitmap:port', null, ['80'], { maxElem: null, options: 'range 0-100' });
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    expect(host.kernel.get('cali40s:a')).toMatchObject({ type: 'hash:net', maxElem: MAX_SIZE });
  });

  test('a wrong type in use is refused, kept as it is, and corrected when the rules are gone', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:ip', 4, ['10.9.9.9'], { maxElem: MAX_SIZE, references: 1 });
    want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'] });
    const { apply } = await host.apply();
    expect(apply.refused).toMatchObject([{ family: 4, kind: 'set', object: 's:a' }]);
    expect(apply.refused[0]?.reason).toContain('type does not match');
    expect(apply.rescheduleAfterMs).toBeGreaterThan(0);
    expect([...host.kernel.get('cali40s:a').members]).toEqual(['10.9.9.9']);
    expect(host.members('s:b')).toEqual(['10.0.0.2']);
    host.kernel.get('cali40s:a').references = 0;
    await host.clock.advance(1_000);
    await host.applyAll();
    expect(host.kernel.get('cali40s:a').type).toBe('hash:net');
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    expect((await host.apply()).apply.refused).toEqual([]);
  });

  test('a set that vanishes between the two listings is simply created', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:net', 4, [], { maxElem: MAX_SIZE });
    host.runner.fault = (index) => {
      if (index === 1) host.kernel.sets.delete('cali40s:a');
      return null;
    };
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    expect(host.verbs()).toEqual(['create-set cali40s:a', 'add-members cali40s:a']);
  });

  test('a listing that cannot be read makes the set be rebuilt', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.9'], { maxElem: MAX_SIZE, references: 1 });
    host.runner.fault = (_index, command) =>
      command.argv[2] === 'cali40s:a' ? { when: 'before', answer: { stdout: 'Name: cali40s:a\nType: hash' } } : null;
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.applyAll();
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    expect(host.verbs()).toContain('replace-set cali40s:a');
  });
});

describe('deletions', () => {
  test('one set an apply, asking to come back, foreign sets untouched', async () => {
    const host = new PlaneFixture();
    for (const name of ['cali40old1', 'cali40old2', 'cali60other', 'KUBE-SET', 'felix-4abc', 'felix-masq-ipam-pools']) {
      host.kernel.put(name, 'hash:net', name === 'cali60other' ? 6 : 4, []);
    }
    const { apply, deletions } = await host.apply();
    expect(apply.operations).toBe(0);
    expect(deletions).toEqual({ refused: [], operations: 1, rescheduleAfterMs: 100 });
    await host.applyAll();
    expect([...host.kernel.sets.keys()]).toEqual(['cali60other', 'KUBE-SET']);
  });

  test('temporary sets of a former run go, one an apply, and are never filled', async () => {
    const host = new PlaneFixture();
    host.kernel.put('cali4t0', 'hash:net', 4, ['6.6.6.6'], { maxElem: MAX_SIZE });
    host.kernel.put('cali4t1', 'bitmap:port', null, []);
    host.kernel.put('cali40s:a', 'hash:net', 4, [], { maxElem: 10 });
    want(host.plane, { 's:a': ['10.0.0.1'] });
    const { apply } = await host.apply();
    expect(apply.rescheduleAfterMs).toBe(100);
    await host.applyAll();
    expect([...host.kernel.sets.keys()]).toEqual(['cali40s:a']);
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
  });

  test('a set in use is left alone until the next resync', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    host.kernel.get('cali40s:a').references = 1;
    host.plane.removeSet('s:a');
    // The kernel lets go of a set some time after the last rule: ten tries, then only a resync looks again.
    for (let tries = 1; tries <= 10; tries++) {
      const { deletions } = await host.apply();
      const wait = tries === 10 ? {} : { rescheduleAfterMs: 100 };
      expect(deletions, `try ${tries}`).toEqual({ refused: [], operations: 0, ...wait });
    }
    const calls = host.runner.calls.length;
    await host.apply();
    expect(host.runner.calls.length).toBe(calls);
    host.kernel.get('cali40s:a').references = 0;
    host.plane.queueResync();
    await host.applyAll();
    expect(host.kernel.sets.size).toBe(0);
  });

  test('a set that comes back before its deletion costs its difference only', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1', '10.0.0.2'], 's:b': [] });
    await host.apply();
    host.plane.removeSet('s:b');
    host.plane.removeSet('s:a');
    expect(host.plane.hasSet('s:a')).toBe(false);
    await host.apply();
    host.kernel.lines.length = 0;
    want(host.plane, { 's:a': ['10.0.0.2', '10.0.0.3'] });
    const { apply, deletions } = await host.apply();
    expect(host.kernel.lines).toEqual(['add cali40s:a 10.0.0.3', 'del cali40s:a 10.0.0.1']);
    expect([apply.operations, deletions.operations]).toEqual([2, 0]);
  });

  test('a set that is wanted and withdrawn before it was written never reaches the kernel', async () => {
    const host = new PlaneFixture();
    await host.apply();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    host.plane.removeSet('s:a');
    const calls = host.runner.calls.length;
    await host.apply();
    expect(host.runner.calls.length).toBe(calls);
  });
});

describe('resync', () => {
  test('repairs members, vanished sets and unexpected ones', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'], 's:c': ['10.0.0.3'] });
    await host.apply();
    host.kernel.get('cali40s:a').members.clear();
    host.kernel.get('cali40s:b').members.add('6.6.6.6');
    host.kernel.sets.delete('cali40s:c');
    host.kernel.put('cali40x', 'hash:ip', 4, []);
    host.plane.queueResync();
    await host.applyAll();
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    expect(host.members('s:b')).toEqual(['10.0.0.2']);
    expect(host.members('s:c')).toEqual(['10.0.0.3']);
    expect(host.kernel.sets.has('cali40x')).toBe(false);
  });

  test('lists the names once and the sets within 100 ms an apply', async () => {
    const host = new PlaneFixture();
    const wanted = Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`s:${index}`, [`10.0.0.${index}`]]));
    want(host.plane, wanted);
    await host.apply();
    host.kernel.listed.length = 0;
    host.runner.fault = (_index, command) => {
      if (command.argv[1] === 'list' && command.argv[2] !== '-name') host.clock.skip(10);
      return null;
    };
    const calls = host.runner.calls.length;
    host.plane.queueResync();
    const { apply } = await host.apply();
    expect(host.kernel.listed).toHaveLength(10);
    expect(apply).toEqual({ refused: [], operations: 0, rescheduleAfterMs: 100 });
    host.plane.removeSet('s:24');
    await host.applyAll();
    expect(new Set(host.kernel.listed).size).toBe(24);
    expect(host.kernel.listed).toHaveLength(24);
    const listings = host.runner.calls.slice(calls).filter((call) => call.argv.includes('-name'));
    expect(listings).toHaveLength(1);
  });

  test('over an unchanged kernel writes nothing', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    host.operations.length = 0;
    host.plane.queueResync();
    await host.applyAll();
    expect(host.operations).toEqual([]);
  });

  describe('where a digest says whether a set is as it was', () => {
    /** Names that a resync lists, and lines that it writes. */
    async function resync(host: PlaneFixture): Promise<{ listed: string[]; lines: string[] }> {
      host.kernel.listed.length = 0;
      host.kernel.lines.length = 0;
      host.plane.queueResync();
      await host.applyAll();
      return { listed: [...host.kernel.listed].sort(), lines: [...host.kernel.lines] };
    }

    test('lists what was written since, and nothing that is as it was listed', async () => {
      const host = new PlaneFixture(4, { digests: true });
      want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'] });
      await host.apply();
      expect(await resync(host)).toEqual({ listed: ['cali40s:a', 'cali40s:b'], lines: [] });
      expect(await resync(host)).toEqual({ listed: [], lines: [] });
      host.plane.addMembers('s:b', ['10.0.0.3']);
      await host.apply();
      expect(await resync(host)).toEqual({ listed: ['cali40s:b'], lines: [] });
      expect(await resync(host)).toEqual({ listed: [], lines: [] });
    });

    test.each([
      ['another member', (host: PlaneFixture) => host.kernel.get('cali40s:a').members.add('6.6.6.6')],
      ['a member less', (host: PlaneFixture) => host.kernel.get('cali40s:a').members.delete('10.0.0.1')],
      ['another set in its place', (host: PlaneFixture) => host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.1'])],
      ['no set in its place', (host: PlaneFixture) => host.kernel.sets.delete('cali40s:a')],
    ])('repairs %s', async (_what, meddle) => {
      const host = new PlaneFixture(4, { digests: true });
      want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'] });
      await host.apply();
      const clean = host.kernel.print();
      await resync(host);
      meddle(host);
      expect(host.kernel.print()).not.toBe(clean);
      expect((await resync(host)).listed).not.toContain('cali40s:b');
      expect(host.kernel.print()).toBe(clean);
      await resync(host);
      expect(await resync(host)).toEqual({ listed: [], lines: [] });
    });

    test('repairs a set from which somebody takes what was written after the listing', async () => {
      const host = new PlaneFixture(4, { digests: true });
      want(host.plane, { 's:a': ['10.0.0.1'] });
      await host.apply();
      await resync(host);
      host.plane.addMembers('s:a', ['10.0.0.2']);
      await host.apply();
      host.kernel.get('cali40s:a').members.delete('10.0.0.2');
      expect(await resync(host)).toEqual({ listed: ['cali40s:a'], lines: ['add cali40s:a 10.0.0.2'] });
    });

    test('a set of another size is not taken for the one that was listed', async () => {
      const host = new PlaneFixture(4, { digests: true });
      want(host.plane, { 's:a': ['10.0.0.1'] });
      await host.apply();
      await resync(host);
      host.plane.setSet(spec('s:a', 'hash:net', 5), ['10.0.0.1']);
      await host.applyAll();
      expect(host.kernel.get('cali40s:a').maxElem).toBe(5);
    });
  });
});

describe('refusals', () => {
  test.each([
    ['s:a', 'hash:net', '10.0.0.0/33'],
    ['s:a', 'hash:net', 'bogus'],
    ['s:a', 'hash:ip', '10.0.0.0/24'],
    ['s:a', 'hash:ip,port', '10.0.0.1,icmp:8'],
    ['s:a', 'hash:ip,port', '10.0.0.1,tcp:65536'],
    ['s:a', 'hash:ip,port', '10.0.0.1'],
  ] as const)('%s of %s with %s is refused and keeps its content, others go on', async (id, type, bad) => {
    const host = new PlaneFixture();
    const good = type === 'hash:ip,port' ? '10.0.0.1,tcp:80' : '10.0.0.1';
    host.plane.setSet(spec(id, type), [good]);
    await host.apply();
    host.plane.setSet(spec(id, type), [bad]);
    want(host.plane, { 's:other': ['10.0.0.2'] });
    const { apply } = await host.apply();
    expect(apply.refused).toMatchObject([{ family: 4, kind: 'set', object: id }]);
    expect(apply.refused[0]?.reason).toContain(bad);
    expect(host.members(id)).toEqual([good]);
    expect(host.members('s:other')).toEqual(['10.0.0.2']);
  });

  test('all addresses as a change of a hash:net set are refused: what is left when they go is not known', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    host.plane.addMembers('s:a', ['0.0.0.0/0']);
    expect((await host.apply()).apply.refused).toMatchObject([{ object: 's:a' }]);
    host.plane.removeMembers('s:a', ['0.0.0.0/0']);
    expect((await host.apply()).apply.refused).toEqual([]);
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
  });

  test('a bad member that is added and removed again', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    host.plane.addMembers('s:a', ['10.0.0.300', '10.0.0.2']);
    expect((await host.apply()).apply.refused).toHaveLength(1);
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    host.plane.removeMembers('s:a', ['10.0.0.300']);
    expect((await host.apply()).apply.refused).toEqual([]);
    expect(host.members('s:a')).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  test('a bad member in a set that is not there yet: the set is not made', async () => {
    const host = new PlaneFixture();
    want(host.plane, { 's:a': ['10.0.0.1', 'bad'] });
    expect((await host.apply()).apply.refused).toHaveLength(1);
    expect(host.kernel.sets.size).toBe(0);
    host.plane.removeSet('s:a');
    expect((await host.apply()).apply.refused).toEqual([]);
  });

  test('more members than maxelem are refused, and fit again after a removal', async () => {
    const host = new PlaneFixture();
    host.plane.setSet(spec('s:a', 'hash:net', 2), ['10.0.0.1', '10.0.0.2']);
    await host.apply();
    host.plane.addMembers('s:a', ['10.0.0.3']);
    const { apply } = await host.apply();
    expect(apply.refused[0]?.reason).toContain('3 members do not fit into maxelem 2');
    expect(host.members('s:a')).toEqual(['10.0.0.1', '10.0.0.2']);
    host.plane.removeMembers('s:a', ['10.0.0.1']);
    expect((await host.apply()).apply.refused).toEqual([]);
    expect(host.members('s:a')).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  test('two ids with one kernel name: the second is refused', async () => {
    const host = new PlaneFixture();
    const common = 's:0123456789012345678901234567890';
    want(host.plane, { [`${common}a`]: ['10.0.0.1'], [`${common}b`]: ['10.0.0.2'] });
    const { apply } = await host.apply();
    expect(apply.refused).toMatchObject([{ object: `${common}b` }]);
    expect(host.members(`${common}a`.slice(0, 25))).toEqual(['10.0.0.1']);
  });

  test('one set that the kernel refuses does not stop the others, and is retried with growing pauses', async () => {
    const host = new PlaneFixture();
    await host.apply();
    const refuseB = { exitCode: 1, stderr: '' };
    host.runner.fault = (_index, command) => {
      const lines = (command.stdin ?? '').split('\n');
      const at = lines.findIndex((line) => line.startsWith('add cali40s:b '));
      if (at < 0) return null;
      refuseB.stderr = `ipset v7.17: Error in line ${at + 1}: Out of memory\n`;
      // What ipset does: the lines before are carried out.
      void host.kernel.program({ argv: ['ipset', '-exist', 'restore'], stdin: lines.slice(0, at).join('\n') });
      return { when: 'before', answer: refuseB };
    };
    want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'], 's:c': ['10.0.0.3'] });
    const { apply } = await host.apply();
    expect(apply.refused).toMatchObject([{ object: 's:b' }]);
    expect(apply.refused[0]?.reason).toContain('Out of memory');
    // Made and not filled: taken back, so that no rule can name it.
    expect(host.kernel.sets.has('cali40s:b')).toBe(false);
    expect(apply.rescheduleAfterMs).toBeLessThanOrEqual(1_000);
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    expect(host.members('s:c')).toEqual(['10.0.0.3']);
    const calls = host.runner.calls.length;
    await host.apply();
    expect(host.runner.calls.length).toBe(calls);
    host.runner.fault = () => null;
    await host.clock.advance(1_000);
    expect((await host.apply()).apply.refused).toEqual([]);
    expect(host.members('s:b')).toEqual(['10.0.0.2']);
  });

  test('ipset that does not say where it failed: sets are written one by one', async () => {
    const host = new PlaneFixture();
    await host.apply();
    host.runner.fault = (_index, command) =>
      (command.stdin ?? '').includes('cali40s:b')
        ? { when: 'before', answer: { exitCode: 1, stderr: 'ipset v7.17: Kernel error received\n' } }
        : null;
    want(host.plane, { 's:a': ['10.0.0.1'], 's:b': ['10.0.0.2'], 's:c': ['10.0.0.3'] });
    const { apply } = await host.apply();
    expect(apply.refused).toMatchObject([{ object: 's:b' }]);
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
    expect(host.members('s:c')).toEqual(['10.0.0.3']);
  });
});

describe('random histories', () => {
  test('the kernel always ends as the last wish, whatever is done to it in between', async () => {
    const member = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.0/24', '10.0.1.0/24', '10.0.0.1/32', 'fd00::1');
    const step = fc.oneof(
      fc.record({ do: fc.constant('set' as const), id: fc.constantFrom('s:a', 's:b'), members: fc.array(member) }),
      fc.record({ do: fc.constant('add' as const), id: fc.constantFrom('s:a', 's:b'), members: fc.array(member) }),
      fc.record({ do: fc.constant('remove' as const), id: fc.constantFrom('s:a', 's:b'), members: fc.array(member) }),
      fc.record({
        do: fc.constantFrom(
          'drop' as const,
          'apply' as const,
          'resync' as const,
          'restart' as const,
          'meddle' as const,
        ),
        id: fc.constantFrom('s:a', 's:b'),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 25 }), async (digests, steps) => {
        const host = new PlaneFixture(4, { digests });
        const model = new Map<string, Set<string>>();
        const canon = (members: readonly string[]): string[] =>
          members.filter((text) => !text.includes(':')).map((text) => text.replace('/32', ''));
        for (const each of steps) {
          if (each.do === 'set') {
            model.set(each.id, new Set(canon(each.members)));
            host.plane.setSet(spec(each.id), each.members);
          } else if (each.do === 'add') {
            host.plane.addMembers(each.id, each.members);
            for (const text of canon(each.members)) model.get(each.id)?.add(text);
          } else if (each.do === 'remove') {
            host.plane.removeMembers(each.id, each.members);
            for (const text of canon(each.members)) model.get(each.id)?.delete(text);
          } else if (each.do === 'drop') {
            host.plane.removeSet(each.id);
            model.delete(each.id);
          } else if (each.do === 'apply') await host.apply();
          else if (each.do === 'resync') {
            host.plane.queueResync();
            await host.applyAll();
          } else if (each.do === 'meddle') {
            // The newest one, which may have come after a listing.
            const members = host.kernel.sets.get(`cali40${each.id}`)?.members;
            members?.delete([...members].at(-1) ?? '');
          } else {
            host.restart();
            for (const [id, members] of model) host.plane.setSet(spec(id), members);
          }
        }
        host.plane.queueResync();
        await host.applyAll();
        const kernel = new Map([...host.kernel.sets].map(([name, set]) => [name.slice(6), [...set.members].sort()]));
        expect(kernel).toEqual(new Map([...model].map(([id, members]) => [id, [...members].sort()])));
      }),
      { numRuns: 300 },
    );
  });
});
