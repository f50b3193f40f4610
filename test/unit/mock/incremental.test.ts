import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { documentOf } from '../../../src/mock/documents.js';
import type { ResourceRef } from '../../../src/mock/outcome.js';
import { newMock } from './support/mock.js';
import { StreamView } from './support/stream-view.js';
import { ROUTING_UNIVERSE, UNIVERSE } from './support/universe.js';

type Universe = readonly (readonly object[])[];

interface Operation {
  readonly resource: number;
  readonly version: number | 'delete';
  readonly flush: boolean;
}

const operation: fc.Arbitrary<Operation> = fc.record({
  resource: fc.nat(1000),
  version: fc.oneof({ weight: 3, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.constant('delete' as const) }),
  flush: fc.boolean(),
});

const CONFIGS: readonly Record<string, string>[] = [
  { WorkloadSourceSpoofing: 'Any' },
  { NFTablesMode: 'Disabled', RouteSource: 'WorkloadIPs' },
  { ProgramClusterRoutes: 'Enabled', IstioAmbientMode: 'Enabled' },
];

/** Applies the operations to a mock, checks every flush, and returns what a driver then knows and what is left. */
function run(universe: Universe, operations: readonly Operation[], config: Record<string, string>) {
  const mock = newMock(config);
  const view = new StreamView();
  const refs = new Map<number, ResourceRef>();
  const present = new Map<number, object>();
  for (const operation of operations) {
    const resource = operation.resource % universe.length;
    if (operation.version === 'delete') {
      const ref = refs.get(resource);
      expect(ref === undefined ? false : mock.delete(ref)).toBe(present.delete(resource));
    } else {
      const versions = universe[resource] ?? [];
      const value = versions[operation.version % versions.length] as object;
      const outcome = mock.apply([documentOf(value, 'universe')]);
      expect(outcome.problems).toEqual([]);
      refs.set(resource, outcome.applied[0] as ResourceRef);
      present.set(resource, value);
    }
    if (operation.flush) view.apply(mock.flush());
  }
  view.apply(mock.flush());
  return { mock, view, present: [...present.values()] };
}

/** A tier that is gone keeps its last action for the policies that are left in it; a fresh start cannot know it. */
function withoutKeptActions(state: Record<string, string>, tierExists: boolean): Record<string, string> {
  if (tierExists) return state;
  const kept =
    /"defaultAction":"(?:Deny|Pass|)",((?:"egressPolicies":\[[^\]]*\],)?(?:"ingressPolicies":\[[^\]]*\],)?"name":"sec")/g;
  return Object.fromEntries(Object.entries(state).map(([key, text]) => [key, text.replaceAll(kept, '$1')]));
}

describe.each([
  ['all resources', UNIVERSE, 60],
  ['resources of routing', ROUTING_UNIVERSE, 100],
] as const)('MockControlPlane fed %s in any order', (_, universe, numRuns) => {
  it('sends flushes that are safe one by one, and ends in the state of a fresh start', () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 50, size: 'max' }),
        fc.constantFrom(...CONFIGS),
        (operations, config) => {
          const { mock, view, present } = run(universe, operations, config);
          expect(view.isInSync).toBe(true);
          expect(mock.flush()).toEqual([]);

          const fresh = newMock(config);
          fresh.apply(present.toReversed().map((value) => documentOf(value, 'universe')));
          const freshView = new StreamView();
          freshView.apply(fresh.flush());
          const tierExists = mock.list().some(({ kind, name }) => kind === 'Tier' && name === 'sec');
          expect(withoutKeptActions(view.state(), tierExists)).toEqual(
            withoutKeptActions(freshView.state(), tierExists),
          );
          expect(mock.list()).toEqual(fresh.list());

          mock.restart();
          const restarted = new StreamView();
          restarted.apply(mock.flush());
          expect(restarted.state()).toEqual(freshView.state());
        },
      ),
      { numRuns },
    );
  });
});
