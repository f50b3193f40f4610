// Faults of the nftables plane: refused statements, lost answers, failed listings, bad input. The rules in force stay,
// only what is to blame closes, and everything comes right in the end.
import { describe, expect, it } from 'vitest';
import { FakeNftKernel, nftError, nftKilled } from '../../fakes/nft-kernel.js';
import {
  ACCEPT,
  act,
  chain,
  DROP,
  fillNode,
  from,
  fromSet,
  jump,
  setEndpoints,
  setUp,
  type Setup,
} from './nftables-setup.js';
import { statementsOf } from '../../fakes/nft-statements.js';

const TABLE = ['ip', 'calico'] as const;

/** What a fault-free plane makes of the same wishes. */
async function expected(fill: (setup: Setup) => void): Promise<string | null> {
  const setup = setUp();
  fill(setup);
  await setup.apply();
  return setup.kernel.dump(...TABLE);
}

const update = ({ plane }: Setup): void => {
  const filter = plane.layer('filter');
  filter.setChain(chain('cali-po-web', fromSet('cali40s:db', ACCEPT)));
  plane.sets.setSet({ id: 's:db', type: 'hash:net', maxSize: 1 }, ['10.1.0.0/16']);
  plane.sets.removeSet('s:web');
  filter.setChain(chain('cali-fw-cali3', act('drop')));
  filter.deleteChain('cali-fw-cali1');
  setEndpoints(plane, ['cali2', 'cali3']);
};

describe('NftablesPlane when a statement is refused once', () => {
  it('keeps the old ruleset and comes right at the next attempt, whichever statement of an update it is', async () => {
    const wanted = await expected((setup) => {
      fillNode(setup.plane);
      update(setup);
    });
    let statements = 1;
    for (let refusedLine = 1; refusedLine <= statements; refusedLine++) {
      const setup = setUp();
      fillNode(setup.plane);
      await setup.apply();
      const old = setup.kernel.dump(...TABLE);
      update(setup);
      setup.kernel.beforeTransaction = (script) => {
        statements = script.trim().split('\n').length;
        expect(setup.kernel.dump(...TABLE)).toBe(old);
        setup.kernel.beforeTransaction = () => expect(setup.kernel.dump(...TABLE)).toBe(old);
        throw nftError(refusedLine, 'Could not process rule: Invalid argument');
      };
      const result = await setup.apply();
      expect(result.refused, `line ${refusedLine}`).toEqual([]);
      expect(setup.kernel.dump(...TABLE), `line ${refusedLine}`).toBe(wanted);
    }
    expect(statements).toBeGreaterThan(10);
  });

  it('comes right when nft dies before or after the kernel carried the transaction out', async () => {
    const wanted = await expected((setup) => {
      fillNode(setup.plane);
      update(setup);
    });
    for (const when of ['beforeTransaction', 'afterTransaction'] as const) {
      const setup = setUp();
      fillNode(setup.plane);
      await setup.apply();
      update(setup);
      setup.kernel[when] = () => {
        setup.kernel[when] = () => undefined;
        throw nftKilled();
      };
      await setup.apply();
      expect(setup.kernel.dump(...TABLE), when).toBe(wanted);
      // What the listing showed decided: no second write where the first was carried out.
      expect(setup.kernel.listings).toBe(2);
      expect(setup.kernel.transactions.length).toBe(when === 'afterTransaction' ? 2 : 3);
    }
  });
});

describe('NftablesPlane when a statement is always refused', () => {
  it('closes only the object that the statement is for, or rejects if everything depends on it', async () => {
    const probe = setUp();
    fillNode(probe.plane);
    await probe.apply();
    const statements = (probe.kernel.transactions[0] ?? '').trim().split('\n');
    const good = probe.kernel.dump(...TABLE)?.split('\n') ?? [];
    let closed = 0;
    let rejected = 0;
    for (const refused of statements) {
      const setup = setUp();
      fillNode(setup.plane);
      setup.kernel.refuses = (line) => (line === refused ? 'Could not process rule: Invalid argument' : undefined);
      const outcome = await setup.apply().then(
        (result) => result,
        () => null,
      );
      if (outcome === null) {
        rejected++;
        expect(setup.kernel.dump(...TABLE), refused).toBeNull();
        continue;
      }
      closed++;
      expect(outcome.refused.length, refused).toBeGreaterThan(0);
      const names = outcome.refused.map(({ object }) => object);
      const lines = setup.kernel.dump(...TABLE)?.split('\n') ?? [];
      for (const line of good) {
        if (names.some((name) => line.includes(name.replace(':', '-')))) continue;
        expect(lines, refused).toContain(line);
      }
    }
    expect(closed).toBeGreaterThanOrEqual(7);
    expect(rejected).toBeGreaterThanOrEqual(10);
  });

  it('drops in place of the chain, and programs it again once it changes', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.kernel.refuses = (line) => (line.includes('10.9.9.9') ? 'syntax error, unexpected string' : undefined);
    const bad = chain('cali-fw-cali1', from('10.9.9.9', ACCEPT), jump('cali-po-web'));
    setup.plane.layer('filter').setChain(bad);
    const result = await setup.apply();
    expect(result.refused).toEqual([
      { family: 4, kind: 'chain', object: 'cali-fw-cali1', reason: 'syntax error, unexpected string' },
    ]);
    expect(setup.rules('filter-cali-fw-cali1')).toEqual(['counter drop']);
    expect(setup.rules('filter-cali-fw-cali2')).toEqual(['counter jump filter-cali-po-web', 'counter drop']);
    const transactions = setup.kernel.transactions.length;
    // The same definition again is not tried again.
    setup.plane.layer('filter').setChain({ ...bad });
    expect((await setup.apply()).refused.length).toBe(1);
    expect(setup.kernel.transactions.length).toBe(transactions);
    setup.plane.layer('filter').setChain(chain('cali-fw-cali1', jump('cali-po-web')));
    expect((await setup.apply()).refused).toEqual([]);
    expect(setup.rules('filter-cali-fw-cali1')).toEqual(['counter jump filter-cali-po-web']);
  });

  it('writes everything else of an update, and what was asked for meanwhile, in spite of a refused chain', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    await setup.apply();
    update(setup);
    setup.plane.layer('filter').setChain(chain('cali-fw-cali2', from('10.9.9.9', ACCEPT)));
    setup.plane.sets.addMembers('s:db', ['10.2.0.0/16']);
    setup.kernel.refuses = (line) => (line.includes('10.9.9.9') ? 'syntax error' : undefined);
    let transactions = 0;
    setup.kernel.beforeTransaction = () => {
      transactions++;
      setup.plane.sets.addMembers('s:db', [`10.3.0.${transactions}`]);
      if (transactions > 1) setup.plane.sets.removeMembers('s:db', ['10.2.0.0/16']);
    };
    const result = await setup.apply();
    setup.kernel.beforeTransaction = () => undefined;
    expect(transactions).toBe(3);
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-fw-cali2']);
    expect(setup.rules('filter-cali-fw-cali2')).toEqual(['counter drop']);
    expect(setup.rules('filter-cali-fw-cali3')).toEqual(['counter drop']);
    expect(setup.rules('filter-cali-po-web')).toBeUndefined();
    expect(setup.kernel.map(...TABLE, 'filter-cali-from-wl-dispatch')?.['cali3']).toBe('filter-cali-fw-cali3');
    await setup.apply();
    expect(setup.kernel.elements(...TABLE, 'cali40s-db')).toEqual(['10.1.0.0/16', '10.3.0.1', '10.3.0.2', '10.3.0.3']);
  });

  it('tries a refused chain again at refresh', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.kernel.refuses = (line) => (line.includes('10.9.9.9') ? 'syntax error' : undefined);
    setup.plane.layer('filter').setChain(chain('cali-fw-cali1', from('10.9.9.9', ACCEPT)));
    await setup.apply();
    await setup.clock.advance(180_000);
    expect((await setup.apply()).refused.length).toBe(1);
    setup.kernel.refuses = () => undefined;
    await setup.clock.advance(180_000);
    expect((await setup.apply()).refused).toEqual([]);
    expect(setup.rules('filter-cali-fw-cali1')).toEqual(['ip saddr 10.9.9.9 counter accept']);
  });

  it('closes the chains that use a refused set, and opens them when the set changes', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.kernel.refuses = (line) =>
      line.includes('10.6.6.6') ? 'Could not process rule: Invalid argument' : undefined;
    setup.plane.sets.addMembers('s:web', ['10.6.6.6']);
    const result = await setup.apply();
    expect(result.refused.map(({ kind, object }) => `${kind} ${object}`)).toEqual(['set s:web', 'chain cali-po-web']);
    expect(setup.rules('filter-cali-po-web')).toEqual(['counter drop']);
    setup.plane.sets.removeMembers('s:web', ['10.6.6.6']);
    expect((await setup.apply()).refused).toEqual([]);
    expect(setup.rules('filter-cali-po-web')).toEqual(['ip saddr @cali40s-web counter accept']);
    expect(setup.kernel.elements(...TABLE, 'cali40s-web')).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  it('finds the bad chain by search when the kernel names the jump that leads to it', async () => {
    const setup = setUp();
    fillNode(
      setup.plane,
      Array.from({ length: 20 }, (_, at) => `cali${at}`),
    );
    const filter = setup.plane.layer('filter');
    filter.setChain(chain('cali-fw-cali7', { match: [], action: { kind: 'reject' } }));
    filter.setChain(chain('cali-fw-cali13', { match: [], action: { kind: 'reject' } }));
    // The rule itself passes; the complaint is about the hook, as nft does for a reject below postrouting.
    let sawReject = false;
    const named = (line: string): string | undefined => {
      if (line.startsWith('add table')) sawReject = false;
      if (line.startsWith('add rule') && line.includes('reject')) sawReject = true;
      return sawReject && line.startsWith('add element ip calico filter-cali-from-wl-dispatch')
        ? 'Could not process rule: Operation not supported'
        : undefined;
    };
    setup.kernel.refuses = named;
    const result = await setup.apply();
    expect(result.refused.map(({ object }) => object).sort()).toEqual(['cali-fw-cali13', 'cali-fw-cali7']);
    expect(setup.rules('filter-cali-fw-cali7')).toEqual(['counter drop']);
    expect(setup.rules('filter-cali-fw-cali8')).toEqual(['counter jump filter-cali-po-web', 'counter drop']);
    expect(setup.kernel.checks).toBeLessThan(20);
  });

  it('closes one chain of a loop', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    const filter = setup.plane.layer('filter');
    filter.setChain(chain('cali-pi-a', jump('cali-pi-b')));
    filter.setChain(chain('cali-pi-b', jump('cali-pi-a')));
    filter.setChain(chain('cali-fw-cali1', jump('cali-pi-a')));
    const result = await setup.apply();
    expect(result.refused.length).toBe(1);
    expect(setup.rules('filter-cali-fw-cali2')).toEqual(['counter jump filter-cali-po-web', 'counter drop']);
  });

  it('closes what nothing is decided by with an empty chain', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.plane.layer('nat').setInsertedRules('POSTROUTING', [jump('cali-nat-outgoing')]);
    setup.plane.layer('nat').setChain(chain('cali-nat-outgoing', from('10.9.9.9', { kind: 'masquerade' })));
    setup.kernel.refuses = (line) => (line.includes('10.9.9.9') ? 'syntax error' : undefined);
    const result = await setup.apply();
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-nat-outgoing']);
    expect(setup.rules('nat-cali-nat-outgoing')).toEqual([]);
  });
});

describe('NftablesPlane at its limit', () => {
  it('rejects after eleven failures, names the statement, and leaves the rules in force', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    await setup.apply();
    const old = setup.kernel.dump(...TABLE);
    const before = setup.kernel.transactions.length;
    setup.plane.layer('filter').setInsertedRules('INPUT', [from('10.9.9.9', DROP)]);
    setup.kernel.refuses = (line) =>
      line.includes('10.9.9.9') ? 'Could not process rule: Invalid argument' : undefined;
    await expect(setup.apply()).rejects.toThrow(/11 attempts.*Invalid argument/u);
    expect(setup.kernel.transactions.length - before).toBe(11);
    expect(setup.kernel.dump(...TABLE)).toBe(old);
  });

  it('makes the table anew, with all that is in it, from the sixth failure on', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    await setup.apply();
    let failures = 0;
    setup.kernel.beforeTransaction = (script) => {
      if (script.includes('delete table')) return;
      failures++;
      throw nftKilled();
    };
    setup.plane.layer('filter').setChain(chain('cali-po-web', act('drop')));
    await setup.apply();
    expect(failures).toBe(5);
    expect(
      setup.kernel.transactions
        .at(-1)
        ?.startsWith('add table ip calico\ndelete table ip calico\nadd table ip calico\n'),
    ).toBe(true);
    expect(setup.rules('filter-cali-po-web')).toEqual(['counter drop']);
    expect(setup.kernel.map(...TABLE, 'filter-cali-from-wl-dispatch')?.['cali2']).toBe('filter-cali-fw-cali2');
  });

  it('gives up quietly, until later, where the table is not required', async () => {
    const setup = setUp({ family: 'arp', required: false });
    setup.plane.layer('filter').setInsertedRules('OUTPUT', [jump('cali-arp-dispatch')]);
    setup.plane.layer('filter').setChain(chain('cali-arp-dispatch'));
    let listings = 0;
    setup.kernel.beforeListing = () => {
      listings++;
      throw nftKilled();
    };
    const result = await setup.apply();
    expect(result).toEqual({ operations: 0, refused: [], rescheduleAfterMs: 180_000 });
    // Applies for other reasons in between must not wait for eleven attempts again.
    const before = listings;
    setup.clock.skip(1_000);
    expect(await setup.apply()).toEqual({ operations: 0, refused: [], rescheduleAfterMs: 179_000 });
    expect(listings).toBe(before);
    setup.kernel.beforeListing = () => undefined;
    setup.clock.skip(179_000);
    await setup.apply();
    expect(setup.rules('filter-cali-arp-dispatch')).toEqual([]);
  });
});

describe('NftablesPlane when the table cannot be listed', () => {
  it('rejects at start, as it cannot know what is there', async () => {
    const setup = setUp();
    setup.kernel.beforeListing = () => {
      throw nftKilled();
    };
    await expect(setup.apply()).rejects.toThrow(/could not be programmed/u);
    expect(setup.kernel.transactions).toEqual([]);
  });

  it('goes on with what it knows when that was only for refresh, and lists again soon', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    await setup.apply();
    setup.kernel.beforeListing = () => {
      throw nftKilled();
    };
    await setup.clock.advance(180_000);
    setup.plane.sets.addMembers('s:web', ['10.0.0.9']);
    const result = await setup.apply();
    expect(result.rescheduleAfterMs).toBe(10_000);
    expect(setup.kernel.transactions.length).toBe(2);
    expect(setup.kernel.transactions[1]).toBe('add element ip calico cali40s-web { 10.0.0.9 }\n');
    setup.kernel.beforeListing = () => undefined;
    await setup.clock.advance(10_000);
    const listings = setup.kernel.listings;
    await setup.apply();
    expect(setup.kernel.listings).toBe(listings + 1);
  });
});

describe('NftablesPlane with bad input', () => {
  it('closes a policy whose set has a bad member, until that member goes', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.plane.sets.addMembers('s:web', ['10.0.0.300']);
    const result = await setup.apply();
    expect(result.refused.map(({ kind, object }) => `${kind} ${object}`)).toEqual(['set s:web', 'chain cali-po-web']);
    expect(result.refused[0]?.reason).toContain('10.0.0.300');
    expect(setup.rules('filter-cali-po-web')).toEqual(['counter drop']);
    setup.plane.sets.removeMembers('s:web', ['10.0.0.300']);
    expect((await setup.apply()).refused).toEqual([]);
  });

  it('leaves a bad member out of a set of its own, and says so', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.plane.sets.setSet({ id: 'network-ip-pools', type: 'hash:net', maxSize: 1 }, ['10.0.0.0/16', 'nonsense']);
    setup.plane.layer('nat').setInsertedRules('POSTROUTING', [jump('cali-nat-outgoing')]);
    setup.plane
      .layer('nat')
      .setChain(chain('cali-nat-outgoing', fromSet('cali40network-ip-pools', { kind: 'masquerade' })));
    const result = await setup.apply();
    expect(result.refused.map(({ kind, object }) => `${kind} ${object}`)).toEqual(['set network-ip-pools']);
    expect(setup.rules('nat-cali-nat-outgoing')?.length).toBe(1);
  });

  it('closes a chain that names an unknown set, and opens it when the set comes', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.plane.layer('filter').setChain(chain('cali-po-web', fromSet('cali40s:later', ACCEPT)));
    expect((await setup.apply()).refused.map(({ object }) => object)).toEqual(['cali-po-web']);
    setup.plane.sets.setSet({ id: 's:later', type: 'hash:net', maxSize: 1 }, []);
    expect((await setup.apply()).refused).toEqual([]);
    expect(setup.rules('filter-cali-po-web')).toEqual(['ip saddr @cali40s-later counter accept']);
  });

  it('closes an endpoint chain that refers to a chain nobody defined', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    setup.plane.layer('filter').deleteChain('cali-po-web');
    const result = await setup.apply();
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-po-web']);
    expect(setup.rules('filter-cali-po-web')).toEqual(['counter drop']);
  });

  it.each(['10.0.0.1; flush ruleset', '10.0.0.1\nflush ruleset', '10.0.0.1 # x', '"10.0.0.1'])(
    'never hands nft a rule with %j in it',
    async (net) => {
      const setup = setUp();
      fillNode(setup.plane);
      setup.plane.layer('filter').setChain(chain('cali-po-web', from(net, ACCEPT)));
      const result = await setup.apply();
      expect(result.refused.map(({ object }) => object)).toEqual(['cali-po-web']);
      expect(setup.rules('filter-cali-po-web')).toEqual(['counter drop']);
    },
  );

  it('leaves an interface that nft has no text for without map element, so that its packets are dropped', async () => {
    const setup = setUp();
    fillNode(setup.plane, ['cali1', 'cali*', 'a"b']);
    const result = await setup.apply();
    expect(result.refused).toContainEqual({
      family: 4,
      kind: 'map',
      object: 'cali-from-wl-dispatch',
      reason: 'interface names that nft has no text for: cali* a"b',
    });
    expect(result.refused.map(({ object }) => object).sort()).toEqual([
      'cali-from-wl-dispatch',
      'cali-fw-a"b',
      'cali-fw-cali*',
    ]);
    expect(setup.kernel.map(...TABLE, 'filter-cali-from-wl-dispatch')).toEqual({ cali1: 'filter-cali-fw-cali1' });
  });

  it('takes ports of a protocol without ports in nft as a closed chain, not as the end', async () => {
    const setup = setUp();
    fillNode(setup.plane);
    const match = [{ kind: 'dest-ports', protocol: 'udplite', ports: [{ first: 1, last: 1 }] }] as const;
    setup.plane.layer('filter').setChain(chain('cali-po-web', { match, action: ACCEPT }));
    expect((await setup.apply()).refused.map(({ object }) => object)).toEqual(['cali-po-web']);
  });
});

describe('FakeNftKernel', () => {
  it('refuses overlapping elements and a set in use, as the kernel does', async () => {
    const kernel = new FakeNftKernel();
    kernel.foreign(
      'add table ip t\nadd set ip t s { type ipv4_addr; flags interval; }\nadd element ip t s { 10.0.0.0/8 }',
    );
    await expect(kernel.transaction(statementsOf('add element ip t s { 10.1.0.0/16 }\n'))).rejects.toThrow(/overlaps/u);
    kernel.foreign('add chain ip t c\nadd rule ip t c ip saddr @s counter');
    await expect(kernel.transaction(statementsOf('delete set ip t s\n'))).rejects.toThrow(/busy/u);
  });
});
