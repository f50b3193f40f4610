// Desired nft sets: members, closing, and that plans, carried out or not, add up to what is wanted.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { IntervalMembers, NO_SINK } from '../../../src/ipsets/interval-members.js';
import { SLICE_MS, TimeSlices } from '../../../src/base/time-slices.js';
import { canonicalElement, createSetMembers } from '../../../src/ipsets/nft-set-members.js';
import { NftSets, nftNameOfSet, type SetPlan } from '../../../src/ipsets/nft-sets.js';
import type { Family } from '../../../src/model/family.js';
import type { IpSetType } from '../../../src/model/ip-set.js';
import { WorkClock } from '../../fakes/slices.js';

const sets = (family: Family = 4): NftSets => new NftSets({ family, log: silentLogger });
const net = (id: string) => ({ id, type: 'hash:net', maxSize: 1 }) as const;

/** Members as the kernel would have them. */
class Kernel {
  readonly sets = new Map<string, Set<string>>();

  carryOut(plan: SetPlan): void {
    for (const change of plan.changed) {
      if (change.created) {
        if (this.sets.has(change.nftName)) throw new Error(`${change.nftName} exists`);
        this.sets.set(change.nftName, new Set());
      }
      const elements = this.sets.get(change.nftName);
      if (elements === undefined) throw new Error(`${change.nftName} does not exist`);
      for (const element of change.removed) {
        if (!elements.delete(element)) throw new Error(`${element} is not in ${change.nftName}`);
      }
      for (const element of change.added) {
        if (elements.has(element)) throw new Error(`${element} is already in ${change.nftName}`);
        elements.add(element);
      }
    }
    for (const name of plan.deleted) {
      if (!this.sets.delete(name)) throw new Error(`${name} does not exist`);
    }
  }
}

describe('createSetMembers', () => {
  it.each<[IpSetType, Family, string, string]>([
    ['hash:ip', 4, '10.0.0.1', '10.0.0.1'],
    ['hash:ip', 4, '10.0.0.1/32', '10.0.0.1'],
    ['hash:ip', 6, 'FD00:0::1/128', 'fd00::1'],
    ['hash:net', 4, '10.0.0.1/32', '10.0.0.1'],
    ['hash:net', 4, '10.1.2.3/8', '10.0.0.0/8'],
    ['hash:net', 4, '0.0.0.0/0', '0.0.0.0/0'],
    ['hash:net', 6, 'fd00::1/64', 'fd00::/64'],
    ['hash:net', 6, '::FFFF:1.2.3.4', '::ffff:1.2.3.4'],
    ['hash:ip,port', 4, '10.0.0.1,TCP:080', '10.0.0.1 . tcp . 80'],
    ['hash:ip,port', 6, 'fd00::1,sctp:9', 'fd00::1 . sctp . 9'],
  ])('%s (IPv%d): %j is the element %j', (type, family, member, element) => {
    const members = createSetMembers(family, type);
    expect(members.add(member, NO_SINK)).toBe('taken');
    expect([...members.elements()]).toEqual([element]);
    expect(members.has(member)).toBe(true);
    expect([...members.members()].every((text) => members.has(text))).toBe(true);
    expect(members.remove(member, NO_SINK)).toBe('taken');
    expect(members.size).toBe(0);
  });

  it.each<[IpSetType, Family, string, string]>([
    ['hash:ip', 4, '10.0.0.0/24', 'invalid'],
    ['hash:ip', 4, 'x', 'invalid'],
    ['hash:ip', 6, '10.0.0.1', 'other-family'],
    ['hash:net', 4, 'fd00::/8', 'other-family'],
    ['hash:net', 6, 'fd00::/129', 'invalid'],
    ['hash:ip,port', 4, '10.0.0.1', 'invalid'],
    ['hash:ip,port', 4, '10.0.0.1,icmp:8', 'invalid'],
    ['hash:ip,port', 4, '10.0.0.1,tcp:65536', 'invalid'],
    ['hash:ip,port', 4, '10.0.0.1,tcp', 'invalid'],
    ['hash:ip,port', 4, 'fd00::1,tcp:80', 'other-family'],
    ['hash:ip,port', 6, '10.0.0.1,tcp:80', 'other-family'],
  ])('%s (IPv%d): %j is %s', (type, family, member, outcome) => {
    const members = createSetMembers(family, type);
    expect(members.add(member, NO_SINK)).toBe(outcome);
    expect(members.size).toBe(0);
  });
});

describe('canonicalElement', () => {
  it.each([
    ['::1.2.3.4', '::102:304'],
    ['::ffff:1.2.3.4/120', '::ffff:1.2.3.4/120'],
    ['FD00::1 . tcp . 80', 'fd00::1 . tcp . 80'],
    ['10.0.0.1-10.0.0.5', '10.0.0.1-10.0.0.5'],
    ['10.0.0.0/8', '10.0.0.0/8'],
  ])('%j is %j', (text, canonical) => {
    expect(canonicalElement(text)).toBe(canonical);
  });
});

describe('NftSets', () => {
  it('names sets as ipset does, with colons replaced', () => {
    expect(nftNameOfSet(4, 's:FJs8XE9YeohcxlMc3DSiBW8xxxxxxxx')).toBe('cali40s-FJs8XE9YeohcxlMc3DSiBW8');
    expect(nftNameOfSet(6, 'this-host')).toBe('cali60this-host');
  });

  it('keeps a withdrawn set while chains use it', () => {
    const all = sets();
    const kernel = new Kernel();
    all.setSet(net('s:a'), []);
    const create = all.plan();
    kernel.carryOut(create);
    create.commit();
    all.countUse('cali40s-a', 1);
    all.removeSet('s:a');
    expect(all.plan().deleted).toEqual([]);
    all.countUse('cali40s-a', -1);
    expect(all.plan().deleted).toEqual(['cali40s-a']);
  });

  it('plans nothing for what is added and removed again', () => {
    const all = sets();
    all.setSet(net('s:a'), ['10.0.0.1']);
    all.plan().commit();
    all.addMembers('s:a', ['10.0.0.2', '10.0.0.0/8']);
    all.removeMembers('s:a', ['10.0.0.0/8', '10.0.0.2']);
    expect(all.plan().changed).toEqual([]);
  });

  it('tells which sets got another state, and only those', () => {
    const all = sets();
    all.setSet(net('s:a'), ['10.0.0.1']);
    expect([...all.takeShaken()]).toEqual(['cali40s-a']);
    all.addMembers('s:a', ['10.0.0.2']);
    expect([...all.takeShaken()]).toEqual([]);
    all.addMembers('s:a', ['bad']);
    expect([...all.takeShaken()]).toEqual(['cali40s-a']);
    expect(all.problem('cali40s-a')).toContain('"bad"');
    all.removeMembers('s:a', ['bad']);
    expect([...all.takeShaken()]).toEqual(['cali40s-a']);
    expect(all.problem('cali40s-a')).toBeUndefined();
    all.removeSet('s:a');
    expect([...all.takeShaken()]).toEqual(['cali40s-a']);
  });

  it('adds up to what is wanted, whether plans are carried out or not, and with changes while they are under way', async () => {
    const nets = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.1.1', '128.0.0.0/1', '200.0.0.0/8'] as const;
    const some = fc.uniqueArray(fc.constantFrom(...nets), { maxLength: 4 });
    const change = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), id: fc.constantFrom('s:a', 's:b'), members: some }),
      fc.record({ kind: fc.constant('delta' as const), id: fc.constantFrom('s:a', 's:b'), members: some, gone: some }),
      fc.record({ kind: fc.constant('remove' as const), id: fc.constantFrom('s:a', 's:b') }),
    );
    const round = fc.record({
      before: fc.array(change, { maxLength: 4 }),
      during: fc.array(change, { maxLength: 4 }),
      outcome: fc.constantFrom('commit' as const, 'abort' as const, 'lost' as const, 'lost-done' as const),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(round, { maxLength: 8 }), async (rounds) => {
        const all = sets();
        const kernel = new Kernel();
        const wanted = new Map<string, Set<string>>();
        const carry = (list: readonly (typeof rounds)[number]['before'][number][]): void => {
          for (const one of list) {
            if (one.kind === 'remove') {
              wanted.delete(one.id);
              all.removeSet(one.id);
            } else if (one.kind === 'set') {
              wanted.set(one.id, new Set(one.members));
              all.setSet(net(one.id), one.members);
            } else {
              for (const member of one.members) wanted.get(one.id)?.add(member);
              for (const member of one.gone) wanted.get(one.id)?.delete(member);
              all.addMembers(one.id, one.members);
              all.removeMembers(one.id, one.gone);
            }
          }
        };
        const listing = () =>
          new Map(
            [...kernel.sets].map(([name, elements]) => [
              name,
              { type: 'ipv4_addr', flags: 'interval', elements: [...elements] },
            ]),
          );
        const finish = (): void => {
          const plan = all.plan();
          kernel.carryOut(plan);
          plan.commit();
        };
        for (const { before, during, outcome } of rounds) {
          carry(before);
          const plan = all.plan();
          // The script is written at once; the members may change while it is under way.
          const script: SetPlan = { ...plan, changed: plan.changed.map((set) => ({ ...set, added: [...set.added] })) };
          carry(during);
          if (outcome === 'commit' || outcome === 'lost-done') kernel.carryOut(script);
          if (outcome === 'commit') plan.commit();
          else plan.abort();
          if (outcome.startsWith('lost'))
            expect(await all.adopt(listing(), new TimeSlices(new WorkClock(), SLICE_MS))).toBe(false);
        }
        finish();
        expect([...kernel.sets.keys()].sort()).toEqual([...wanted.keys()].map((id) => nftNameOfSet(4, id)).sort());
        for (const [id, members] of wanted) {
          const model = new IntervalMembers(4);
          for (const member of members) model.add(member, NO_SINK);
          expect([...(kernel.sets.get(nftNameOfSet(4, id)) ?? [])].sort()).toEqual([...model.elements()].sort());
        }
        const rest = all.plan();
        expect(rest.changed).toEqual([]);
        expect(rest.deleted).toEqual([]);
      }),
      { numRuns: 1500 },
    );
  });
});
