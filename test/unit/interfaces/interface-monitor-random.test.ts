import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { Family } from '../../../src/model/family.js';
import { InterfaceMonitor } from '../../../src/interfaces/interface-monitor.js';
import type { LinkEvent } from '../../../src/interfaces/link-events.js';
import type { LinkLister, ListedLink, ListedRoute } from '../../../src/interfaces/link-kernel.js';
import { FakeClock } from '../../fakes/clock.js';

const NAMES = ['eth0', 'eth1', 'eth2'] as const;
const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3'] as const;

type Step =
  | { readonly do: 'add' | 'delete' | 'toggle'; readonly name: string }
  | { readonly do: 'rename'; readonly name: string; readonly to: string }
  | { readonly do: 'address'; readonly name: string; readonly address: string }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'lose' | 'list' | 'fail-list' };

const name = fc.constantFrom(...NAMES);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('add' as const, 'delete' as const, 'toggle' as const), name }),
  fc.record({ do: fc.constant('rename' as const), name, to: name }),
  fc.record({ do: fc.constant('address' as const), name, address: fc.constantFrom(...ADDRESSES) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(0, 30, 100, 250) }),
  fc.record({ do: fc.constantFrom('lose' as const, 'list' as const, 'fail-list' as const) }),
);

interface Link {
  readonly ifindex: number;
  isRunning: boolean;
  readonly addresses: Set<string>;
}

/** A kernel whose listings take time, and whose news can be lost. */
class World implements LinkLister {
  readonly clock = new FakeClock();
  readonly links = new Map<string, Link>();
  readonly toldStates = new Map<string, string>();
  readonly toldAddresses = new Map<string, string>();
  readonly monitor: InterfaceMonitor;
  #send: (event: LinkEvent) => void = () => undefined;
  #lose = 0;
  #failNext = false;
  #nextIndex = 1;

  constructor() {
    this.monitor = new InterfaceMonitor({
      source: { start: (onEvent) => void (this.#send = onEvent), stop: () => undefined },
      lister: this,
      clock: this.clock,
      logger: silentLogger,
      interfaceExclude: [],
      workloadPrefixes: ['cali'],
      refreshIntervalMs: 0,
    });
    this.monitor.start(
      ({ name: interfaceName, state, ifindex }) => {
        if (state === 'absent') this.toldStates.delete(interfaceName);
        else this.toldStates.set(interfaceName, `${state} ${ifindex}`);
      },
      ({ name: interfaceName, addresses }) => {
        if (addresses === null) this.toldAddresses.delete(interfaceName);
        else this.toldAddresses.set(interfaceName, [...addresses].sort().join(' '));
      },
      () => undefined,
    );
  }

  /** A snapshot of the call's moment, delivered later. */
  async #later<T>(value: T): Promise<T> {
    const fails = this.#failNext;
    this.#failNext = false;
    await new Promise<void>((resolve) => this.clock.setTimer(20, resolve));
    if (fails) throw new Error('listing failed');
    return value;
  }

  listLinks(): Promise<readonly ListedLink[]> {
    return this.#later(
      [...this.links].map(([linkName, { ifindex, isRunning }]) => ({
        name: linkName,
        ifindex,
        isRunning,
        kind: null,
        mtu: 1500,
      })),
    );
  }

  listRoutes(family: Family, _table: number, names?: readonly string[]): Promise<readonly ListedRoute[]> {
    const routes = [...this.links].flatMap(([interfaceName, { addresses }]) =>
      [...addresses].map((address) => ({ dst: `${address}/32`, type: 'local', interfaceName })),
    );
    return this.#later(
      family === 6 ? [] : routes.filter((route) => names === undefined || names.includes(route.interfaceName)),
    );
  }

  #news(event: LinkEvent): void {
    if (this.#lose > 0) {
      this.#lose -= 1;
      // The tool says that it lost news only at the next that it reads.
      if (this.#lose === 0) this.#send({ kind: 'lost' });
      return;
    }
    this.#send(event);
  }

  async run(action: Step): Promise<void> {
    const link = 'name' in action ? this.links.get(action.name) : undefined;
    switch (action.do) {
      case 'add':
        if (link !== undefined) return;
        this.links.set(action.name, { ifindex: this.#nextIndex++, isRunning: false, addresses: new Set() });
        this.#news({ kind: 'link', name: action.name, ifindex: this.#nextIndex - 1, isRunning: false });
        return;
      case 'delete':
        if (link === undefined) return;
        this.links.delete(action.name);
        this.#news({ kind: 'link-gone', name: action.name, ifindex: link.ifindex });
        return;
      case 'toggle':
        if (link === undefined) return;
        link.isRunning = !link.isRunning;
        this.#news({ kind: 'link', name: action.name, ifindex: link.ifindex, isRunning: link.isRunning });
        return;
      case 'rename':
        if (link === undefined || this.links.has(action.to)) return;
        this.links.delete(action.name);
        this.links.set(action.to, link);
        this.#news({ kind: 'link', name: action.to, ifindex: link.ifindex, isRunning: link.isRunning });
        return;
      case 'address': {
        if (link === undefined) return;
        const isGone = link.addresses.delete(action.address);
        if (!isGone) link.addresses.add(action.address);
        // Half of them as a source that knows the index, half as one that knows the name.
        const where = link.ifindex % 2 === 0 ? { ifindex: link.ifindex } : { interfaceName: action.name };
        this.#news({ kind: 'address', ...where, dst: `${action.address}/32`, isGone });
        return;
      }
      case 'wait':
        await this.clock.advance(action.ms);
        return;
      case 'lose':
        this.#lose = 3;
        return;
      case 'list':
        this.monitor.queueResync();
        return;
      case 'fail-list':
        this.#failNext = true;
    }
  }

  async settle(): Promise<void> {
    if (this.#lose > 0) this.#send({ kind: 'lost' });
    this.#lose = 0;
    for (let round = 0; round < 30; round++) await this.clock.advance(200);
  }
}

describe('InterfaceMonitor under random changes, lost news and slow listings', () => {
  it('has told the state and the addresses of every interface in the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const world = new World();
        for (const action of steps) await world.run(action);
        await world.settle();
        const states = [...world.links].map(([linkName, link]): [string, string] => [
          linkName,
          `${link.isRunning ? 'up' : 'down'} ${link.ifindex}`,
        ]);
        const addresses = [...world.links].map(([linkName, link]): [string, string] => [
          linkName,
          [...link.addresses].sort().join(' '),
        ]);
        expect(Object.fromEntries(world.toldStates)).toEqual(Object.fromEntries(states));
        expect(Object.fromEntries(world.toldAddresses)).toEqual(Object.fromEntries(addresses));
      }),
      { numRuns: 200 },
    );
  });
});
