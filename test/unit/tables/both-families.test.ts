// What the tables of both families share: renderings of the same chains, and turns for making scripts.
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { Action } from '../../../src/model/action.js';
import type { Chain, Rule } from '../../../src/model/chain.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { Match } from '../../../src/model/match.js';
import { renderChain as renderIptables } from '../../../src/tables/iptables/hash.js';
import { renderChain as renderNft } from '../../../src/tables/nftables/hash.js';
import type { Statement } from '../../../src/tables/nftables/io.js';
import { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import type { PrintedChain } from '../../../src/tables/nftables/rendered-chains.js';
import { SharedRenderings } from '../../../src/tables/shared-renderings.js';
import { Turns } from '../../../src/tables/turns.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';
import { ACCEPT, act, chain, from, jump } from './nftables-setup.js';

/** One of each kind; the compiler says when one is missing. */
const MATCHES: { readonly [Kind in Match['kind']]: Match } = {
  'mark-clear': { kind: 'mark-clear', mask: 1 },
  'mark-not-clear': { kind: 'mark-not-clear', mask: 1 },
  'mark-value': { kind: 'mark-value', value: 1, mask: 1 },
  protocol: { kind: 'protocol', protocol: 'tcp' },
  'in-interface': { kind: 'in-interface', name: 'eth0' },
  'out-interface': { kind: 'out-interface', name: 'eth0' },
  'source-net': { kind: 'source-net', net: '10.0.0.0/8' },
  'dest-net': { kind: 'dest-net', net: '10.0.0.0/8' },
  'source-set': { kind: 'source-set', set: 'cali40s:a' },
  'dest-set': { kind: 'dest-set', set: 'cali40s:a' },
  'source-port-set': { kind: 'source-port-set', set: 'cali40s:a' },
  'dest-port-set': { kind: 'dest-port-set', set: 'cali40s:a' },
  'source-ports': { kind: 'source-ports', protocol: 'tcp', ports: [{ first: 1, last: 2 }] },
  'dest-ports': { kind: 'dest-ports', protocol: 'tcp', ports: [{ first: 1, last: 2 }] },
  'dest-port': { kind: 'dest-port', protocol: 'tcp', port: 1 },
  'conntrack-state': { kind: 'conntrack-state', states: ['INVALID'] },
  'conntrack-dnat': { kind: 'conntrack-dnat' },
  'source-address-type': { kind: 'source-address-type', type: 'LOCAL' },
  'dest-address-type': { kind: 'dest-address-type', type: 'LOCAL' },
  'icmp-type': { kind: 'icmp-type', type: 8 },
  'icmp-type-code': { kind: 'icmp-type-code', type: 8, code: 0 },
  limit: { kind: 'limit', rate: '1/second', burst: 5 },
  'rpf-failed': { kind: 'rpf-failed' },
  'in-interface-map': { kind: 'in-interface-map', map: 'm' },
  'out-interface-map': { kind: 'out-interface-map', map: 'm' },
  'arp-reply-from': { kind: 'arp-reply-from', address: '10.0.0.1' },
};
const ACTIONS: { readonly [Kind in Action['kind']]: Action } = {
  accept: { kind: 'accept' },
  drop: { kind: 'drop' },
  return: { kind: 'return' },
  notrack: { kind: 'notrack' },
  reject: { kind: 'reject' },
  jump: { kind: 'jump', chain: 'cali-x' },
  goto: { kind: 'goto', chain: 'cali-x' },
  'set-mark': { kind: 'set-mark', mask: 1 },
  'clear-mark': { kind: 'clear-mark', mask: 1 },
  'set-masked-mark': { kind: 'set-masked-mark', value: 1, mask: 1 },
  log: { kind: 'log', prefix: 'p' },
  nflog: { kind: 'nflog', group: 1, prefix: 'p' },
  dnat: { kind: 'dnat', address: '10.0.0.1' },
  snat: { kind: 'snat', address: '10.0.0.1' },
  masquerade: { kind: 'masquerade' },
  dscp: { kind: 'dscp', value: 1 },
  'limit-packet-rate': { kind: 'limit-packet-rate', perSecond: 1, burst: 5, mark: 1 },
  'limit-connections': { kind: 'limit-connections', max: 1 },
  'flow-offload': { kind: 'flow-offload', flowtable: 'f' },
};
const RULES: readonly (readonly [string, Rule])[] = [
  ...Object.values(MATCHES).map((match) => [match.kind, { match: [match] }] as const),
  ...Object.values(ACTIONS).map((action) => [action.kind, { match: [], action }] as const),
];

/** The texts in both families and back ends; a back end that has none for a rule says so. */
function texts(rule: Rule, family: 4 | 6): unknown[] {
  return [
    () => renderNft('cali-c', [rule], { family, features: MODERN_FEATURES, layer: 'filter' }),
    () => renderIptables('cali-c', [rule], { family, features: MODERN_FEATURES }),
  ].map((render) => {
    try {
      return render();
    } catch (error) {
      return String(error);
    }
  });
}

describe('SharedRenderings', () => {
  it.each(RULES)('%s: waits for the other family only if both have the same text', (_kind, rule) => {
    const shared = new SharedRenderings<string>();
    const one = chain('cali-c', act('accept'), rule);
    shared.leave(one, 'rendering');
    const isSame = JSON.stringify(texts(rule, 4)) === JSON.stringify(texts(rule, 6));
    // A text that is the same only as it happens (a net, a set) need not be shared.
    if (!isSame) expect(shared.take(one)).toBeUndefined();
    else if (rule.action !== undefined) expect(shared.take(one)).toBe('rendering');
  });

  it('gives each rendering once, and only for the very same chain', () => {
    const shared = new SharedRenderings<string>();
    const one = chain('cali-c', act('accept'));
    shared.leave(one, 'rendering');
    expect(shared.take(chain('cali-c', act('accept')))).toBeUndefined();
    expect(shared.take(one)).toBe('rendering');
    expect(shared.take(one)).toBeUndefined();
    shared.leave(one, 'again');
    shared.clear();
    expect(shared.take(one)).toBeUndefined();
  });
});

describe('Turns', () => {
  it('come in the order of asking, also when one ends twice', async () => {
    const turns = new Turns();
    const order: string[] = [];
    const take = async (name: string): Promise<() => void> => {
      const end = await turns.take();
      order.push(name);
      return end;
    };
    const first = take('first');
    const second = take('second');
    const third = take('third');
    const endFirst = await first;
    expect(order).toEqual(['first']);
    endFirst();
    endFirst();
    const endSecond = await second;
    expect(order).toEqual(['first', 'second']);
    endSecond();
    await third;
    expect(order).toEqual(['first', 'second', 'third']);
  });

  it('are free when the last one of those who asked, also meanwhile, has ended', async () => {
    const turns = new Turns();
    await turns.free();
    let isFree = false;
    const endFirst = await turns.take();
    const free = turns.free().then(() => {
      isFree = true;
    });
    const second = turns.take();
    endFirst();
    const endSecond = await second;
    await new Promise((resolve) => setImmediate(resolve));
    expect(isFree).toBe(false);
    endSecond();
    await free;
  });
});

/** Its transactions are ready at once and end when they are let go. */
class SlowNftKernel extends FakeNftKernel {
  letGo: () => void = () => undefined;
  readonly #isFree = new Promise<void>((resolve) => {
    this.letGo = resolve;
  });
  ends = 0;

  override async transaction(statements: readonly Statement[], onReady?: () => void): Promise<void> {
    await super.transaction(statements, onReady);
    await this.#isFree;
    this.ends += 1;
  }
}

describe('planes of both families', () => {
  const planes = (kernel: FakeNftKernel): [NftablesPlane, NftablesPlane] => {
    const turns = new Turns();
    const shared = new Map([['filter', new SharedRenderings<PrintedChain>()] as const]);
    const plane = (family: 'ip' | 'ip6'): NftablesPlane =>
      new NftablesPlane({
        family,
        features: MODERN_FEATURES,
        refreshIntervalMs: 0,
        io: kernel,
        clock: new FakeClock(),
        log: silentLogger,
        onOperation: () => undefined,
        required: true,
        turns,
        shared,
      });
    return [plane('ip'), plane('ip6')];
  };
  const want = (plane: NftablesPlane, ...chains: readonly Chain[]): void => {
    const filter = plane.layer('filter');
    for (const each of chains) filter.setChain(each);
    filter.setInsertedRules(
      'FORWARD',
      chains.map(({ name }) => jump(name)),
    );
  };

  it('prepare one transaction while the kernel has the other', async () => {
    const kernel = new SlowNftKernel();
    const [v4, v6] = planes(kernel);
    want(v4, chain('cali-a', act('accept')));
    want(v6, chain('cali-a', act('accept')));
    const both = Promise.all([v4.apply(), v6.apply()]);
    await expect.poll(() => kernel.transactions.length).toBe(2);
    expect(kernel.ends).toBe(0);
    kernel.letGo();
    await both;
    expect(kernel.ends).toBe(2);
  });

  it('write the same for a chain that both want as for chains of their own', async () => {
    const apart = new FakeNftKernel();
    const together = new FakeNftKernel();
    const make = (): Chain[] => [chain('cali-a', act('accept')), chain('cali-b', jump('cali-a'), act('drop'))];
    const ofV4 = chain('cali-net', from('10.0.0.0/8', ACCEPT));
    const ofV6 = chain('cali-net', from('fd00::/8', ACCEPT));
    for (const [kernel, forV4, forV6] of [
      [apart, make(), make()],
      [together, ...((chains: Chain[]) => [chains, chains])(make())] as [FakeNftKernel, Chain[], Chain[]],
    ] as const) {
      const [v4, v6] = planes(kernel);
      want(v4, ...forV4, ofV4);
      want(v6, ...forV6, ofV6);
      await Promise.all([v4.apply(), v6.apply()]);
    }
    expect(together.transactions).toEqual(apart.transactions);
  });
});
