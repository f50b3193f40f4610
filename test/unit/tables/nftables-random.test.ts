// Random changes, random faults, random damage by others: in the end the table is what a fault-free plane makes of the
// same wishes, and no transaction was needed that changes nothing.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Rule } from '../../../src/model/chain.js';
import type { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import { nftError, nftKilled } from '../../fakes/nft-kernel.js';
import { act, chain, fromSet, jump, setUp } from './nftables-setup.js';

const POLICIES = ['cali-pi-a', 'cali-pi-b', 'cali-pi-c'] as const;
const SETS = ['s:x', 's:y', 'n:z'] as const;
const WORKLOADS = ['cali1', 'cali2', 'cali3'] as const;
const NETS = ['10.0.0.0/8', '10.1.0.0/16', '10.1.2.3', '0.0.0.0/0', '192.168.0.0/16'] as const;

interface Wishes {
  policies: Record<string, { set: string | null; drop: boolean } | null>;
  sets: Record<string, string[] | null>;
  workloads: Record<string, string | null>;
}

type Step =
  | { kind: 'policy'; name: string; value: { set: string | null; drop: boolean } | null }
  | { kind: 'set'; name: string; members: string[] | null }
  | { kind: 'delta'; name: string; add: string[]; remove: string[] }
  | { kind: 'workload'; name: string; policy: string | null }
  | { kind: 'apply'; fault: 'none' | 'refused' | 'killed-before' | 'killed-after' | 'unlisted' }
  | { kind: 'damage'; script: string };

const members = (name: string, nets: readonly string[]): string[] =>
  name.startsWith('n:') ? nets.map((net) => `${net.split('/')[0]},tcp:80`) : [...nets];

const nets = fc.uniqueArray(fc.constantFrom(...NETS), { maxLength: 5 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('policy' as const),
    name: fc.constantFrom(...POLICIES),
    value: fc.option(fc.record({ set: fc.option(fc.constantFrom(...SETS)), drop: fc.boolean() }), { freq: 4 }),
  }),
  fc.record({
    kind: fc.constant('set' as const),
    name: fc.constantFrom(...SETS),
    members: fc.option(nets, { freq: 4 }),
  }),
  fc.record({ kind: fc.constant('delta' as const), name: fc.constantFrom(...SETS), add: nets, remove: nets }),
  fc.record({
    kind: fc.constant('workload' as const),
    name: fc.constantFrom(...WORKLOADS),
    policy: fc.option(fc.constantFrom(...POLICIES), { freq: 3 }),
  }),
  fc.record({
    kind: fc.constant('apply' as const),
    fault: fc.constantFrom(
      'none' as const,
      'none' as const,
      'refused' as const,
      'killed-before' as const,
      'killed-after' as const,
      'unlisted' as const,
    ),
  }),
  fc.record({
    kind: fc.constant('damage' as const),
    script: fc.constantFrom(
      'delete table ip calico',
      'add chain ip calico theirs\nadd rule ip calico theirs counter drop',
      'flush chain ip calico filter-cali-FORWARD',
      'add rule ip calico filter-FORWARD counter accept',
      'flush map ip calico filter-cali-from-wl-dispatch',
      'add set ip calico theirs { type ipv4_addr; }',
      'add element ip calico cali40s-x { 77.0.0.0/8 }',
    ),
  }),
);

function setName(id: string): string {
  return `cali40${id}`;
}

function wishPolicy(plane: NftablesPlane, name: string, value: Wishes['policies'][string]): void {
  const filter = plane.layer('filter');
  if (value === null || value === undefined) {
    filter.deleteChain(name);
    return;
  }
  const rules: Rule[] = [act(value.drop ? 'drop' : 'accept')];
  if (value.set !== null) {
    const kind = value.set.startsWith('n:') ? 'source-port-set' : 'source-set';
    rules.unshift({ match: [{ kind, set: setName(value.set) }], action: { kind: 'accept' } });
  }
  filter.setChain(chain(name, ...rules));
}

function wishWorkloads(plane: NftablesPlane, workloads: Wishes['workloads']): void {
  const filter = plane.layer('filter');
  const elements = new Map<string, string>();
  for (const [name, policy] of Object.entries(workloads)) {
    if (policy === null) {
      filter.deleteChain(`cali-fw-${name}`);
      continue;
    }
    filter.setChain(chain(`cali-fw-${name}`, jump(policy), act('drop')));
    elements.set(name, `cali-fw-${name}`);
  }
  filter.setVerdictMap({ name: 'cali-from-wl-dispatch', elements });
}

function wishSet(plane: NftablesPlane, name: string, list: string[] | null): void {
  if (list === null) plane.sets.removeSet(name);
  else
    plane.sets.setSet(
      { id: name, type: name.startsWith('n:') ? 'hash:ip,port' : 'hash:net', maxSize: 1 },
      members(name, list),
    );
}

function wishStatic(plane: NftablesPlane): void {
  const filter = plane.layer('filter');
  filter.setInsertedRules('FORWARD', [jump('cali-FORWARD')]);
  filter.setChain(
    chain(
      'cali-FORWARD',
      { match: [{ kind: 'in-interface-map', map: 'cali-from-wl-dispatch' }] },
      fromSet('cali40this-host', { kind: 'return' }),
    ),
  );
  filter.setVerdictMap({ name: 'cali-from-wl-dispatch', elements: new Map() });
}

describe('NftablesPlane under random changes, faults and damage', () => {
  it('ends at what a fault-free plane makes of the same wishes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const setup = setUp();
        const { plane, kernel } = setup;
        const wishes: Wishes = { policies: {}, sets: {}, workloads: {} };
        wishStatic(plane);
        for (const one of steps) {
          if (one.kind === 'policy') {
            wishes.policies[one.name] = one.value;
            wishPolicy(plane, one.name, one.value);
          } else if (one.kind === 'set') {
            wishes.sets[one.name] = one.members;
            wishSet(plane, one.name, one.members);
          } else if (one.kind === 'delta') {
            const old = wishes.sets[one.name];
            if (old !== null && old !== undefined) {
              wishes.sets[one.name] = [...new Set([...old, ...one.add])].filter((net) => !one.remove.includes(net));
            }
            plane.sets.addMembers(one.name, members(one.name, one.add));
            plane.sets.removeMembers(one.name, members(one.name, one.remove));
          } else if (one.kind === 'workload') {
            wishes.workloads[one.name] = one.policy;
            wishWorkloads(plane, wishes.workloads);
          } else if (one.kind === 'apply') {
            injectFault(setup.kernel, one.fault);
            await setup.apply();
            clearFaults(setup.kernel);
          } else {
            try {
              kernel.foreign(one.script);
            } catch {
              // There is nothing to damage yet.
            }
          }
        }
        plane.queueResync();
        const last = await setup.apply();
        const clean = setUp();
        wishStatic(clean.plane);
        for (const [name, list] of Object.entries(wishes.sets)) wishSet(clean.plane, name, list);
        for (const [name, value] of Object.entries(wishes.policies)) wishPolicy(clean.plane, name, value);
        wishWorkloads(clean.plane, wishes.workloads);
        const reference = await clean.apply();
        expect(kernel.dump('ip', 'calico')).toBe(clean.kernel.dump('ip', 'calico'));
        expect(last.refused.map(({ object }) => object).sort()).toEqual(
          reference.refused.map(({ object }) => object).sort(),
        );
        plane.queueResync();
        expect((await setup.apply()).operations).toBe(0);
      }),
      { numRuns: 400 },
    );
  });
});

function injectFault(kernel: ReturnType<typeof setUp>['kernel'], fault: string): void {
  const once = (error: Error) => () => {
    clearFaults(kernel);
    throw error;
  };
  if (fault === 'refused') kernel.beforeTransaction = once(nftError(1, 'Could not process rule: Invalid argument'));
  if (fault === 'killed-before') kernel.beforeTransaction = once(nftKilled());
  if (fault === 'killed-after') kernel.afterTransaction = once(nftKilled());
  if (fault === 'unlisted') kernel.beforeListing = once(nftKilled());
}

function clearFaults(kernel: ReturnType<typeof setUp>['kernel']): void {
  kernel.beforeTransaction = () => undefined;
  kernel.afterTransaction = () => undefined;
  kernel.beforeListing = () => undefined;
}
