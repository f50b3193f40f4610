import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { ROUTE_CLASSES, type RouteClass, type RouteTarget } from '../../../src/model/route.js';
import { MainTableOwnership } from '../../../src/routes/ownership.js';
import { RouteTableReconciler } from '../../../src/routes/route-table-reconciler.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeRouteKernel, fakeLink, fakeRoute } from '../../fakes/route-kernel.js';

const WORKLOAD_INTERFACES = ['cali1', 'cali2', 'cali3'] as const;
const INTERFACES = [...WORKLOAD_INTERFACES, 'eth0'] as const;
const NETWORK_CLASSES = ['vxlan-same-subnet', 'no-encap'] as const satisfies readonly RouteClass[];
const DESTINATIONS = ['10.65.0.1/32', '10.65.0.2/32', '10.65.0.3/32', '10.65.1.0/26'] as const;

/** A class and an interface that it can be wanted on: a workload's route is never wanted on another interface than its own. */
interface Place {
  readonly routeClass: RouteClass;
  readonly name: string;
}

type Step =
  | { readonly do: 'set'; readonly place: Place; readonly dsts: readonly string[] }
  | { readonly do: 'update' | 'remove'; readonly place: Place; readonly dst: string }
  | { readonly do: 'down' | 'up' | 'recreate' | 'flap-unseen'; readonly name: string }
  | { readonly do: 'foreign-route'; readonly name: string; readonly dst: string }
  | { readonly do: 'foreign-delete'; readonly dst: string }
  | { readonly do: 'apply'; readonly failAt: number }
  | { readonly do: 'wait' | 'restart' };

const name = fc.constantFrom(...INTERFACES);
const dst = fc.constantFrom(...DESTINATIONS);
const place: fc.Arbitrary<Place> = fc.oneof(
  fc.record({ routeClass: fc.constant('local-workload' as const), name: fc.constantFrom(...WORKLOAD_INTERFACES) }),
  fc.record({ routeClass: fc.constantFrom(...NETWORK_CLASSES), name }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('set' as const), place, dsts: fc.uniqueArray(dst) }),
  fc.record({ do: fc.constantFrom('update' as const, 'remove' as const), place, dst }),
  fc.record({
    do: fc.constantFrom('down' as const, 'up' as const, 'recreate' as const, 'flap-unseen' as const),
    name,
  }),
  fc.record({ do: fc.constant('foreign-route' as const), name, dst }),
  fc.record({ do: fc.constant('foreign-delete' as const), dst }),
  fc.record({ do: fc.constant('apply' as const), failAt: fc.integer({ min: 0, max: 8 }) }),
  fc.record({ do: fc.constantFrom('wait' as const, 'restart' as const) }),
);

function target(routeClassName: RouteClass, destination: string): RouteTarget {
  const mac = { neighbourMac: 'ee:ee:ee:ee:ee:ee' };
  return routeClassName === 'local-workload'
    ? { dst: destination, type: 'unicast', scope: 'link', protocol: 3, priority: 0, ...mac }
    : {
        dst: destination,
        type: 'unicast',
        scope: 'universe',
        gateway: '192.168.0.9',
        onlink: true,
        protocol: 80,
        priority: 0,
      };
}

/** A driver, its kernel, and what is wanted, kept the plainest way. */
class World {
  readonly kernel = new FakeRouteKernel();
  readonly clock = new FakeClock();
  readonly wanted = new Map<string, RouteTarget>();
  table: RouteTableReconciler;
  #nextIndex = 10;

  constructor() {
    for (const interfaceName of INTERFACES) this.kernel.addLink(fakeLink(interfaceName, this.#nextIndex++));
    this.table = this.#create();
  }

  #create(): RouteTableReconciler {
    const ownership = new MainTableOwnership({
      workloadPrefixes: ['cali'],
      removeExternalRoutes: true,
      deviceRouteProtocol: 3,
      vxlanDevice: 'vxlan.calico',
      ownsBirdIpipRoutes: false,
    });
    return new RouteTableReconciler({
      family: 4,
      table: 254,
      kernel: this.kernel,
      ownership,
      conntrack: { clean: () => Promise.resolve() },
      staticNeighbours: true,
      disabled: false,
      clock: this.clock,
      logger: silentLogger,
      observe: () => undefined,
    });
  }

  restart(): void {
    this.table = this.#create();
    for (const [key, route] of this.wanted) {
      const [wantedClass = '', interfaceName = ''] = key.split(' ');
      this.table.updateRoute(wantedClass as RouteClass, interfaceName, route);
    }
  }

  #tell(interfaceName: string): void {
    const link = this.kernel.links.get(interfaceName);
    const state = link === undefined ? 'absent' : link.isRunning ? 'up' : 'down';
    this.table.onInterfaceState({ name: interfaceName, state, ifindex: link?.ifindex ?? 0 });
  }

  #want(wantedClass: RouteClass, interfaceName: string, destination: string, isWanted: boolean): void {
    const key = `${wantedClass} ${interfaceName} ${destination}`;
    if (isWanted) this.wanted.set(key, target(wantedClass, destination));
    else this.wanted.delete(key);
  }

  async run(action: Step): Promise<void> {
    switch (action.do) {
      case 'set':
        for (const destination of DESTINATIONS) {
          this.#want(action.place.routeClass, action.place.name, destination, action.dsts.includes(destination));
        }
        this.table.setRoutes(
          action.place.routeClass,
          action.place.name,
          action.dsts.map((destination) => target(action.place.routeClass, destination)),
        );
        break;
      case 'update':
        this.#want(action.place.routeClass, action.place.name, action.dst, true);
        this.table.updateRoute(action.place.routeClass, action.place.name, target(action.place.routeClass, action.dst));
        break;
      case 'remove':
        this.#want(action.place.routeClass, action.place.name, action.dst, false);
        this.table.removeRoute(action.place.routeClass, action.place.name, action.dst);
        break;
      case 'down':
        this.kernel.setDown(action.name);
        this.#tell(action.name);
        break;
      case 'up':
        this.kernel.setUp(action.name);
        this.#tell(action.name);
        break;
      case 'recreate':
        this.kernel.deleteLink(action.name);
        this.#tell(action.name);
        this.kernel.addLink(fakeLink(action.name, this.#nextIndex++));
        this.#tell(action.name);
        break;
      case 'flap-unseen':
        this.kernel.setDown(action.name);
        this.kernel.setUp(action.name);
        break;
      case 'foreign-route':
        this.kernel.putRoute(
          4,
          254,
          fakeRoute(action.dst, { interfaceName: action.name, scope: 253, priority: 7, protocol: 4 }),
        );
        break;
      case 'foreign-delete':
        for (const route of this.kernel.routes(4).filter((item) => item.dst === action.dst)) {
          await this.kernel.apply([{ op: 'delete-route', family: 4, table: 254, route }]);
        }
        break;
      case 'apply': {
        let count = 0;
        this.kernel.fail = () => (++count === action.failAt ? { reason: 'other', message: 'injected' } : null);
        await this.table.apply();
        this.kernel.fail = () => null;
        break;
      }
      case 'wait':
        this.clock.skip(11_000);
        break;
      case 'restart':
        this.restart();
    }
  }

  /** What the kernel should have, straight from the rules of dataplane.md 6.1. */
  expected(): string[] {
    const best = new Map<string, { rank: number; ifindex: number; text: string }>();
    for (const [key, route] of this.wanted) {
      const [wantedClass = '', interfaceName = ''] = key.split(' ');
      const link = this.kernel.links.get(interfaceName);
      if (link?.isRunning !== true) continue;
      const rank = ROUTE_CLASSES.indexOf(wantedClass as RouteClass);
      const via = route.gateway === undefined ? '' : ` via ${route.gateway}`;
      const candidate = { rank, ifindex: link.ifindex, text: `${route.dst}${via} dev ${interfaceName}` };
      const current = best.get(route.dst);
      const wins =
        current === undefined || rank < current.rank || (rank === current.rank && link.ifindex > current.ifindex);
      if (wins) best.set(route.dst, candidate);
    }
    return [...best.values()].map(({ text }) => text).sort();
  }

  /** Routes of the kernel, without those that nobody may touch. */
  actual(): string[] {
    const foreign = this.kernel.routes(4).filter((route) => route.protocol === 4 && route.interfaceName === 'eth0');
    return this.kernel
      .routeTexts(4)
      .filter((_, index) => !foreign.includes(this.kernel.routes(4)[index] ?? fakeRoute('0.0.0.0/0')))
      .sort();
  }

  async settle(): Promise<void> {
    // Grace periods begin when an interface is first seen.
    this.table.queueResync();
    await this.table.apply();
    this.clock.skip(11_000);
    this.table.queueResync();
    for (let round = 0; round < 5; round++) {
      const { operations, failed } = await this.table.apply();
      if (operations === 0 && failed !== true) return;
    }
    throw new Error('does not come to rest');
  }
}

describe('RouteTableReconciler under random steps, faults, foreign changes and restarts', () => {
  it('ends with what is wanted, and a restart then writes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const world = new World();
        for (const action of steps) await world.run(action);
        await world.settle();
        expect(world.actual()).toEqual(world.expected());
        for (const [key, route] of world.wanted) {
          const [wantedClass, interfaceName = ''] = key.split(' ');
          if (wantedClass !== 'local-workload' || !route.dst.endsWith('/32')) continue;
          expect(world.kernel.neighbours.has(`${interfaceName} ${route.dst.slice(0, -3)}`)).toBe(true);
        }
        world.restart();
        world.clock.skip(11_000);
        expect((await world.table.apply()).operations).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
