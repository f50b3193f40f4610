// What an update writes follows the change and not the node: the same numbers on nodes of 100, 1,000 and 5,000
// pods.
import { beforeAll, describe, expect, test } from 'vitest';
import { ipSetDelta, workloadRemove } from '../../fakes/messages.js';
import { type Cost, COST_MODES, type CostMode, CostNode, namedPod, policyWith } from './cost-node.js';

/** The two iptables variants share everything that could depend on the size; 5,000 pods take seconds to make. */
const SIZES: Readonly<Record<CostMode, readonly number[]>> = {
  nftables: [100, 1_000, 5_000],
  'iptables-nft': [100, 1_000, 5_000],
  'iptables-legacy': [100, 1_000],
};

const UPDATES = {
  'a policy edit': (node: CostNode): Promise<Cost> => node.update(policyWith(3, [80, 443, 8080])),
  'a set member': (node: CostNode): Promise<Cost> => node.update(ipSetDelta('s:set-3', ['10.100.3.2/32'], [])),
  'a new pod': (node: CostNode): Promise<Cost> => node.update(namedPod('calizz003', '10.70.0.3')),
  'a removed pod': (node: CostNode): Promise<Cost> => node.update(workloadRemove('default/calizz003')),
  'nothing new': (node: CostNode): Promise<Cost> => node.update(policyWith(3, [80, 443, 8080])),
} as const;

const NOTHING: Cost = { operations: 0, writes: 0, bytes: 0, reads: 0, rendered: 0 };

const EXPECTED: Readonly<Record<CostMode, Readonly<Record<keyof typeof UPDATES, Cost>>>> = {
  nftables: {
    'a policy edit': { operations: 2, writes: 2, bytes: 1749, reads: 0, rendered: 12 },
    'a set member': { operations: 1, writes: 1, bytes: 51, reads: 0, rendered: 0 },
    'a new pod': { operations: 8, writes: 2, bytes: 7710, reads: 0, rendered: 4 },
    'a removed pod': { operations: 8, writes: 2, bytes: 662, reads: 0, rendered: 0 },
    'nothing new': NOTHING,
  },
  'iptables-nft': {
    'a policy edit': { operations: 2, writes: 2, bytes: 1792, reads: 0, rendered: 12 },
    'a set member': { operations: 1, writes: 1, bytes: 29, reads: 0, rendered: 0 },
    'a new pod': { operations: 8, writes: 2, bytes: 9176, reads: 0, rendered: 8 },
    'a removed pod': { operations: 8, writes: 2, bytes: 1956, reads: 0, rendered: 4 },
    'nothing new': NOTHING,
  },
  'iptables-legacy': {
    'a policy edit': { operations: 2, writes: 2, bytes: 1792, reads: 0, rendered: 12 },
    'a set member': { operations: 1, writes: 1, bytes: 29, reads: 0, rendered: 0 },
    'a new pod': { operations: 8, writes: 2, bytes: 9176, reads: 0, rendered: 8 },
    // A chain may be flushed and deleted in one transaction here, so it is named once less.
    'a removed pod': { operations: 8, writes: 2, bytes: 1834, reads: 0, rendered: 4 },
    'nothing new': NOTHING,
  },
};

describe.each(COST_MODES)('cost of an update, %s', (mode: CostMode) => {
  const costs = new Map<number, Record<string, Cost>>();

  beforeAll(async () => {
    for (const pods of SIZES[mode]) {
      const node = await CostNode.create(mode, pods);
      const of: Record<string, Cost> = {};
      for (const [name, update] of Object.entries(UPDATES)) of[name] = await update(node);
      costs.set(pods, of);
    }
  }, 120_000);

  test.each(Object.keys(UPDATES))('%s costs the same on 100, on 1,000 and on 5,000 pods', (name) => {
    for (const pods of SIZES[mode]) expect(costs.get(pods)?.[name], `${pods} pods`).toEqual(costs.get(100)?.[name]);
  });

  test('operations, writes, bytes, reads and rendered chains are these numbers', () => {
    expect(costs.get(100)).toEqual(EXPECTED[mode]);
  });
});
