// What the tests of the nftables plane share: a plane over the fake kernel, and short names for rules.
import { type Logger, silentLogger } from '../../../src/base/logger.js';
import type { Action } from '../../../src/model/action.js';
import type { Chain, Rule } from '../../../src/model/chain.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { Operation } from '../../../src/model/operation.js';
import type { ApplyResult } from '../../../src/model/reconciler.js';
import type { NftFamily } from '../../../src/tables/nftables/io.js';
import { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';

export const jump = (chain: string): Rule => ({ match: [], action: { kind: 'jump', chain } });
export const act = (kind: 'accept' | 'drop' | 'return'): Rule => ({ match: [], action: { kind } });
export const from = (net: string, action: Action): Rule => ({ match: [{ kind: 'source-net', net }], action });
export const fromSet = (set: string, action: Action): Rule => ({ match: [{ kind: 'source-set', set }], action });
export const chain = (name: string, ...rules: Rule[]): Chain => ({ name, rules });
export const DROP: Action = { kind: 'drop' };
export const ACCEPT: Action = { kind: 'accept' };

export interface Setup {
  readonly clock: FakeClock;
  readonly kernel: FakeNftKernel;
  readonly plane: NftablesPlane;
  readonly operations: Operation[];
  /** Applies, letting fake time pass for pauses between attempts. */
  apply(): Promise<ApplyResult>;
  /** Rules of a chain of the plane's table. */
  rules(chain: string): string[] | undefined;
}

export function setUp(
  options: {
    family?: NftFamily;
    kernel?: FakeNftKernel;
    refreshIntervalMs?: number;
    required?: boolean;
    log?: Logger;
    listDevices?: () => Promise<readonly string[]>;
  } = {},
): Setup {
  const clock = new FakeClock();
  const kernel = options.kernel ?? new FakeNftKernel();
  const operations: Operation[] = [];
  const family = options.family ?? 'ip';
  const plane = new NftablesPlane({
    family,
    features: MODERN_FEATURES,
    refreshIntervalMs: options.refreshIntervalMs ?? 180_000,
    io: kernel,
    clock,
    log: options.log ?? silentLogger,
    onOperation: (operation) => operations.push(operation),
    required: options.required ?? true,
    ...(options.listDevices === undefined ? {} : { listDevices: options.listDevices }),
  });
  const apply = async (): Promise<ApplyResult> => {
    let settled = false;
    const result = plane.apply().finally(() => {
      settled = true;
    });
    // The caller sees the rejection; without this it would count as unhandled while time passes.
    result.catch(() => undefined);
    for (let rounds = 0; !settled && rounds < 200; rounds++) await clock.advance(clock.nextTimerInMs() ?? 0);
    return result;
  };
  const table = family === 'arp' ? 'calico-arp' : 'calico';
  return { clock, kernel, plane, operations, apply, rules: (name) => kernel.rules(family, table, name) };
}

/** A small node: hooks, dispatch by map, an endpoint, a policy with a set. */
export function fillNode(plane: NftablesPlane, endpoints: readonly string[] = ['cali1', 'cali2']): void {
  const filter = plane.layer('filter');
  plane.sets.setSet({ id: 's:web', type: 'hash:net', maxSize: 1 }, ['10.0.0.1', '10.0.0.2']);
  filter.setInsertedRules('FORWARD', [jump('cali-FORWARD')]);
  filter.setAppendedRules('FORWARD', [act('accept')]);
  filter.setChain(chain('cali-FORWARD', jump('cali-from-wl-dispatch')));
  filter.setChain(
    chain(
      'cali-from-wl-dispatch',
      { match: [{ kind: 'in-interface-map', map: 'cali-from-wl-dispatch' }] },
      { ...act('drop'), comments: ['Unknown interface'] },
    ),
  );
  for (const name of endpoints) filter.setChain(chain(`cali-fw-${name}`, jump('cali-po-web'), act('drop')));
  filter.setChain(chain('cali-po-web', fromSet('cali40s:web', ACCEPT)));
  setEndpoints(plane, endpoints);
}

export function setEndpoints(plane: NftablesPlane, endpoints: readonly string[]): void {
  const elements = new Map(endpoints.map((name) => [name, `cali-fw-${name}`]));
  plane.layer('filter').setVerdictMap({ name: 'cali-from-wl-dispatch', elements });
}
