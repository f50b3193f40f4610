// The nftables plane and the real nft and kernel: load, adoption, repair, refusal, and members of every kind.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import type { Family } from '../../src/model/family.js';
import type { Rule } from '../../src/model/chain.js';
import { deleteOwnTables } from '../../src/tables/nftables/cleanup.js';
import { probeFlowtable } from '../../src/tables/nftables/flowtable.js';
import { detectNftablesMode } from '../../src/tables/nftables/mode.js';
import { probeNft, requireNft } from '../../src/tables/nftables/version.js';
import { IntervalMembers, NO_SINK } from '../../src/ipsets/interval-members.js';
import { silentLogger } from '../../src/base/logger.js';
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
} from '../unit/tables/nftables-setup.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { namespaceRunner, realPlane } from './support/nft-plane.js';

let ns: Namespace;
beforeEach(async () => {
  ns = await createNamespace('nftplane');
});
afterEach(async () => {
  await ns.remove();
});

const dump = (table = 'ip calico'): Promise<string> =>
  ns.run(['nft', '-s', 'list', 'table', ...table.split(' ')], { reject: false });
const sortedDump = async (table?: string): Promise<string> => (await dump(table)).split('\n').sort().join('\n');
const nft = (script: string): Promise<string> => ns.run(['nft', '-f', '-'], { input: script });

describe('NftablesPlane on the kernel', () => {
  it.each(['ip', 'ip6', 'arp'] as const)(
    'loads a %s table that a restart adopts without a write, counters kept',
    async (family) => {
      const fill = ({ plane }: ReturnType<typeof realPlane>): void => {
        if (family === 'arp') {
          const filter = plane.layer('filter');
          filter.setInsertedRules('OUTPUT', [jump('cali-arp-dispatch')]);
          filter.setChain(
            chain('cali-arp-dispatch', { match: [{ kind: 'out-interface-map', map: 'cali-arp-dispatch' }] }),
          );
          const match: Rule['match'] = [
            { kind: 'out-interface', name: 'cali1' },
            { kind: 'arp-reply-from', address: '10.0.0.1' },
          ];
          filter.setChain(chain('cali-arp-cali1', { match, action: DROP }));
          filter.setVerdictMap({ name: 'cali-arp-dispatch', elements: new Map([['cali1', 'cali-arp-cali1']]) });
          return;
        }
        fillNode(plane);
        if (family === 'ip6') plane.layer('filter').setChain(chain('cali-po-web', from('fd00::/64', ACCEPT)));
      };
      const first = realPlane(ns, { family });
      fill(first);
      const result = await first.plane.apply();
      expect(result.refused).toEqual([]);
      const table = family === 'arp' ? 'arp calico-arp' : `${family} calico`;
      const before = await ns.run(['nft', '-a', 'list', 'table', ...table.split(' ')]);
      expect(before).toContain('filter-cali-');
      const second = realPlane(ns, { family });
      fill(second);
      expect((await second.plane.apply()).operations).toBe(0);
      // Handles and counters are part of the text: nothing was written anew.
      expect(await ns.run(['nft', '-a', 'list', 'table', ...table.split(' ')])).toBe(before);
    },
  );

  it('adopts every kind of set member without a write', async () => {
    for (const family of [4, 6] as const) {
      const fill = ({ plane }: ReturnType<typeof realPlane>): void => {
        const nets = family === 4 ? ['0.0.0.0/1', '128.0.0.0/1'] : ['::/1', '8000::/1'];
        const odd =
          family === 4
            ? ['10.0.0.1', '10.0.0.4/30', '10.0.1.0/24', '255.255.255.255', '0.0.0.0/32']
            : [
                '::',
                '::1',
                '::ffff:1.2.3.4',
                '::1.2.3.4',
                'fd00::/8',
                'fe80::1',
                'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
                '::ffff:10.0.0.0/120',
              ];
        const all = family === 4 ? '0.0.0.0/0' : '::/0';
        const address = family === 4 ? '10.0.0.1' : 'fd00::1';
        plane.sets.setSet({ id: 's:halves', type: 'hash:net', maxSize: 1 }, nets);
        plane.sets.setSet({ id: 's:odd', type: 'hash:net', maxSize: 1 }, odd);
        plane.sets.setSet({ id: 's:all', type: 'hash:net', maxSize: 1 }, [all, ...odd]);
        plane.sets.setSet(
          { id: 'this-host', type: 'hash:ip', maxSize: 1 },
          odd.filter((text) => !text.includes('/')),
        );
        const ports = [`${address},tcp:80`, `${address},udp:53`, `${address},sctp:65535`, `${address},TCP:0`];
        plane.sets.setSet({ id: 'n:ports', type: 'hash:ip,port', maxSize: 1 }, ports);
      };
      const options = { family: family === 4 ? 'ip' : 'ip6' } as const;
      const first = realPlane(ns, options);
      fill(first);
      expect((await first.plane.apply()).refused).toEqual([]);
      const second = realPlane(ns, options);
      fill(second);
      expect((await second.plane.apply()).operations).toBe(0);
      expect(second.operations).toEqual([]);
    }
  });

  it.each([
    ['a chain flushed', 'flush chain ip calico filter-cali-fw-cali1'],
    ['a rule added to a base chain', 'add rule ip calico filter-FORWARD counter accept'],
    ['a set deleted', 'flush chain ip calico filter-cali-po-web\ndelete set ip calico cali40s-web'],
    [
      'a set of another type',
      'flush chain ip calico filter-cali-po-web\ndelete set ip calico cali40s-web\nadd set ip calico cali40s-web { type inet_service; }',
    ],
    ['a range in a set', 'add element ip calico cali40s-web { 10.9.0.1-10.9.0.6 }'],
    ['members gone', 'flush set ip calico cali40s-web'],
    ['a map emptied', 'flush map ip calico filter-cali-from-wl-dispatch'],
    ['a map element that drops', 'add element ip calico filter-cali-from-wl-dispatch { "cali9" : drop }'],
    [
      'a foreign chain, referred to by a foreign rule',
      'add chain ip calico theirs\nadd rule ip calico theirs counter drop\nadd rule ip calico filter-cali-po-web jump theirs',
    ],
    ['a foreign base chain', 'add chain ip calico theirs { type filter hook input priority 0; policy drop; }'],
    [
      'a foreign set, map and counter',
      'add set ip calico t { type inet_proto; }\nadd map ip calico m { type ifname : verdict; }\nadd element ip calico m { "x" : goto filter-cali-po-web }\nadd counter ip calico c',
    ],
    [
      'a base chain at another priority',
      'delete chain ip calico nat-INPUT\nadd chain ip calico nat-INPUT { type nat hook input priority 5; }',
    ],
    ['a base chain with policy drop', 'add chain ip calico nat-INPUT { policy drop; }'],
    ['the table deleted', 'delete table ip calico'],
  ])('repairs %s', async (_, script) => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    await plane.apply();
    const before = await sortedDump();
    await nft(script);
    expect(await sortedDump()).not.toBe(before);
    plane.queueResync();
    expect((await plane.apply()).refused).toEqual([]);
    const after = await sortedDump();
    expect(after.replace(/\n\tcounter c \{|\n\t\tpackets 0 bytes 0/gu, '')).toContain(
      before.trim().split('\n').at(-1) ?? '',
    );
    for (const line of before.split('\n')) expect(after).toContain(line);
    expect(after).not.toMatch(/theirs|10\.9\.0|cali9|policy drop|set t \{|map m \{/u);
    plane.queueResync();
    expect((await plane.apply()).operations).toBe(0);
  });

  it('closes the one chain that the kernel refuses, and writes all else', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    plane.layer('filter').setChain(chain('cali-fw-cali1', from('10.0.0.0/99', ACCEPT)));
    const result = await plane.apply();
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-fw-cali1']);
    expect(await dump()).toMatch(/chain filter-cali-fw-cali1 \{\n\t\tcounter drop/u);
    expect(await dump()).toContain('goto filter-cali-fw-cali2');
    plane.layer('filter').setChain(chain('cali-fw-cali1', from('10.0.0.0/9', ACCEPT)));
    expect((await plane.apply()).refused).toEqual([]);
    expect(await dump()).toContain('ip saddr 10.0.0.0/9 counter accept');
  });

  it('finds a reject below postrouting, of which the kernel names only the hook', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    const mangle = plane.layer('mangle');
    mangle.setInsertedRules('POSTROUTING', [jump('cali-POSTROUTING')]);
    mangle.setChain(chain('cali-POSTROUTING', jump('cali-to-host-endpoint')));
    mangle.setChain(chain('cali-to-host-endpoint', jump('cali-th-eth0'), jump('cali-th-eth1')));
    mangle.setChain(chain('cali-th-eth0', act('return'), { match: [], action: { kind: 'reject' } }));
    mangle.setChain(chain('cali-th-eth1', act('return')));
    const result = await plane.apply();
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-th-eth0']);
    expect(await dump()).toMatch(/chain mangle-cali-th-eth0 \{\n\t\tcounter drop/u);
    expect(await dump()).toMatch(/chain mangle-cali-th-eth1 \{\n\t\tcounter return/u);
  });

  it('takes ports, sets, NAT, logs and every other form of rule', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    const filter = plane.layer('filter');
    plane.sets.setSet({ id: 'n:p', type: 'hash:ip,port', maxSize: 1 }, ['10.0.0.1,tcp:80']);
    filter.setChain(
      chain(
        'cali-po-web',
        { match: [{ kind: 'dest-port-set', set: 'cali40n:p' }], action: ACCEPT },
        { match: [{ kind: 'icmp-type-code', type: 3, code: 4, negated: true }], action: ACCEPT },
        { match: [{ kind: 'icmp-type-code', type: 3, code: 4 }], action: ACCEPT, comments: ['a=b', 'c'] },
        { match: [{ kind: 'conntrack-dnat', negated: true }], action: { kind: 'log', prefix: 'calico-packet' } },
        {
          match: [{ kind: 'limit', rate: '10/minute', burst: 5 }],
          action: { kind: 'nflog', group: 1, prefix: 'DPI|x' },
        },
        { match: [], action: { kind: 'limit-packet-rate', perSecond: 10, burst: 5, mark: 0x80000 } },
        { match: [], action: { kind: 'limit-connections', max: 7 } },
        { match: [] },
      ),
    );
    plane
      .layer('nat')
      .setInsertedRules('POSTROUTING', [
        { match: [{ kind: 'out-interface', name: 'eth', wildcard: true }], action: { kind: 'masquerade' } },
      ]);
    expect((await plane.apply()).refused).toEqual([]);
    expect(await dump()).toContain('icmp type . icmp code != { destination-unreachable . frag-needed }');
    plane.queueResync();
    expect((await plane.apply()).operations).toBe(0);
  });

  it('takes interface names that are words of nft, and leaves those out that nft cannot name', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane, ['ip', 'drop', 'goto', '123', 'cali.1', 'a{b', 'x;y', '#z', "o'"]);
    const { refused } = await plane.apply();
    expect(refused.map(({ kind, object }) => `${kind} ${object}`)).toEqual([
      'chain cali-fw-a{b',
      'chain cali-fw-x;y',
      'chain cali-fw-#z',
      "chain cali-fw-o'",
      'map cali-from-wl-dispatch',
    ]);
    expect(await dump()).toContain('"goto" : goto filter-cali-fw-goto');
    plane.queueResync();
    expect((await plane.apply()).operations).toBe(0);
  });

  it('matches interfaces whose names are words of nft, in rules', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    const names = ['vlan', 'drop', 'iifname', '0', 'x;y', 'a{b', 'eth0.5'];
    const rules = names.flatMap((name): Rule[] => [
      { match: [{ kind: 'in-interface', name }], action: ACCEPT },
      {
        match: [{ kind: 'out-interface', name: name.slice(0, 14), wildcard: true }],
        action: { kind: 'log', prefix: 'iifname x' },
      },
    ]);
    plane.layer('filter').setChain(chain('cali-po-web', ...rules));
    expect((await plane.apply()).refused).toEqual([]);
    const text = await dump();
    for (const name of names) expect(text).toContain(`iifname "${name}" counter accept`);
    expect(text).toContain('oifname "drop*" counter log prefix "iifname x: "');
    plane.queueResync();
    expect((await plane.apply()).operations).toBe(0);
  });

  it('never has a moment with half a table: a watcher sees whole generations only', async () => {
    const { plane } = realPlane(ns);
    fillNode(plane);
    await plane.apply();
    for (let round = 0; round < 5; round++) {
      setEndpoints(plane, round % 2 === 0 ? ['cali1'] : ['cali1', 'cali2']);
      plane.layer('filter').setChain(chain('cali-po-web', fromSet('cali40s:web', round % 2 === 0 ? DROP : ACCEPT)));
      const [, seen] = await Promise.all([plane.apply(), dump()]);
      expect(seen).toMatch(/chain filter-cali-po-web \{\n\t\tip saddr @cali40s-web counter (accept|drop)/u);
      expect(seen).toContain('iifname vmap @filter-cali-from-wl-dispatch');
    }
  });
});

describe('set members on the kernel', () => {
  const v4 = fc
    .record({
      net: fc.constantFrom('0.0.0.0', '10.0.0.0', '10.1.2.3', '128.0.0.0', '255.255.255.255'),
      length: fc.constantFrom(0, 1, 2, 8, 9, 16, 24, 31, 32),
    })
    .map(({ net, length }) => `${net}/${length}`);
  const v6 = fc
    .record({
      net: fc.constantFrom('::', '::ffff:1.2.3.4', 'fd00::', 'fd00::1', '8000::', 'ffff::ffff'),
      length: fc.constantFrom(0, 1, 8, 64, 96, 127, 128),
    })
    .map(({ net, length }) => `${net}/${length}`);

  async function churn(family: Family, member: fc.Arbitrary<string>): Promise<void> {
    const nftFamily = family === 4 ? 'ip' : 'ip6';
    const { plane } = realPlane(ns, { family: nftFamily });
    plane.sets.setSet({ id: 's:x', type: 'hash:net', maxSize: 1 }, []);
    await plane.apply();
    const batch = fc.record({ add: fc.array(member, { maxLength: 8 }), remove: fc.array(member, { maxLength: 8 }) });
    const model = new IntervalMembers(family);
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 4 }), async (batches) => {
        for (const { add, remove } of batches) {
          plane.sets.addMembers('s:x', add);
          plane.sets.removeMembers('s:x', remove);
          for (const text of add) model.add(text, NO_SINK);
          for (const text of remove) model.remove(text, NO_SINK);
          expect((await plane.apply()).refused).toEqual([]);
        }
        // Equal to the model, and to what a listing of the kernel makes of it.
        plane.queueResync();
        expect((await plane.apply()).operations).toBe(0);
        const fresh = realPlane(ns, { family: nftFamily });
        fresh.plane.sets.setSet({ id: 's:x', type: 'hash:net', maxSize: 1 }, model.members());
        expect((await fresh.plane.apply()).operations).toBe(0);
      }),
      { numRuns: 25 },
    );
  }

  it('follows any churn of overlapping v4 prefixes, element by element', async () => {
    await churn(4, v4);
  });

  it('follows any churn of overlapping v6 prefixes, element by element', async () => {
    await churn(6, v6);
  });

  it('writes 100,000 members in one transaction, and one more as one element', async () => {
    const { plane, operations } = realPlane(ns);
    const members = Array.from(
      { length: 100_000 },
      (_, at) => `${20 + (at >>> 16)}.${(at >>> 8) & 255}.${at & 255}.0/24`,
    );
    plane.sets.setSet({ id: 's:big', type: 'hash:net', maxSize: 1 }, members);
    expect((await plane.apply()).refused).toEqual([]);
    operations.length = 0;
    plane.sets.addMembers('s:big', ['1.2.3.4']);
    await plane.apply();
    expect(operations).toEqual([{ room: 'ipsets', verb: 'add-members', object: 'cali40s-big', count: 1 }]);
    plane.queueResync();
    expect((await plane.apply()).operations).toBe(0);
  });
});

describe('nft that does not do its work', () => {
  it('rejects with what to do when there is no nft', async () => {
    const runner = namespaceRunner(ns, ['env', 'PATH=/nonexistent']);
    const { plane } = realPlane(ns, { runner });
    fillNode(plane);
    await expect(plane.apply()).rejects.toThrow(/could not be programmed.*nft/u);
    await expect(requireNft(runner)).rejects.toThrow(/install nftables/u);
    expect((await probeNft(runner)).problem).toContain('install nftables');
  });

  it('leaves the rules in force when nft is killed or hangs, and goes on when it is back', async () => {
    const real = namespaceRunner(ns);
    let fault: 'none' | 'killed' | 'hangs' = 'none';
    const runner: typeof real = {
      run: (command) => {
        if (fault === 'none' || !command.argv.includes('-f')) return real.run(command);
        const script = fault === 'killed' ? 'kill -9 $$' : 'sleep 60';
        fault = 'none';
        return real.run({ argv: ['sh', '-c', script], timeoutMs: 200 });
      },
    };
    const { plane } = realPlane(ns, { runner });
    fillNode(plane);
    await plane.apply();
    for (const kind of ['killed', 'hangs'] as const) {
      fault = kind;
      plane
        .layer('filter')
        .setChain(chain('cali-po-web', from(kind === 'killed' ? '10.1.0.0/16' : '10.2.0.0/16', DROP)));
      expect((await plane.apply()).refused).toEqual([]);
      expect(await dump()).toContain(kind === 'killed' ? '10.1.0.0/16' : '10.2.0.0/16');
    }
  });

  it('tells a version', async () => {
    expect((await probeNft(namespaceRunner(ns))).version).toMatch(/^\d+\.\d+/u);
  });
});

describe('around the tables', () => {
  it('deletes our IP tables and keeps the ARP table and those of others', async () => {
    const { io } = realPlane(ns);
    await nft(
      'add table ip calico\nadd table ip6 calico\nadd table arp calico-arp\nadd table ip theirs\nadd table inet calico\n',
    );
    expect((await deleteOwnTables(io, () => undefined)).operations).toBe(2);
    expect((await ns.run(['nft', 'list', 'tables'])).trim().split('\n').sort()).toEqual([
      'table arp calico-arp',
      'table inet calico',
      'table ip theirs',
    ]);
    expect((await deleteOwnTables(io, () => undefined)).operations).toBe(0);
  });

  it('takes kube-proxy with chains for nftables mode, and says why', async () => {
    const { io } = realPlane(ns);
    expect((await detectNftablesMode(io, 'Auto')).backend).toBe('iptables');
    await nft('add table ip kube-proxy\nadd table ip6 kube-proxy\n');
    expect((await detectNftablesMode(io, 'Auto')).backend).toBe('iptables');
    await nft('add chain ip6 kube-proxy services\n');
    const decision = await detectNftablesMode(io, 'Auto');
    expect(decision.backend).toBe('nftables');
    expect(decision.reasons.join()).toContain('ip6 kube-proxy has 1 chains');
  });

  it('probes flowtables without leaving anything behind', async () => {
    const { io } = realPlane(ns);
    expect(typeof (await probeFlowtable(io, 'ip', silentLogger))).toBe('boolean');
    expect(await ns.run(['nft', 'list', 'tables'])).toBe('');
  });
});
