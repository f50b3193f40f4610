// A quiet hour costs no process, no write and no listing: refreshes ask whether somebody else wrote.
import { describe, expect, test } from 'vitest';
import { CostNode } from './cost-node.js';

const HOUR_MS = 3_600_000;

describe('a quiet hour', () => {
  test('nftables reads and writes nothing: the generation says that nothing changed', async () => {
    const node = await CostNode.create('nftables', 20);
    const listings = node.nft.listings;
    expect(await node.idle(HOUR_MS)).toEqual({ operations: 0, writes: 0, bytes: 0, reads: 0, rendered: 0 });
    expect(node.nft.listings).toBe(listings);
  });

  test('iptables-nft reads and writes nothing: the generation says that nothing changed', async () => {
    const node = await CostNode.create('iptables-nft', 20);
    const saves = node.iptables.saves.length;
    const { operations, writes, bytes } = await node.idle(HOUR_MS);
    expect({ operations, writes, bytes }).toEqual({ operations: 0, writes: 0, bytes: 0 });
    expect([node.iptables.saves.length - saves, node.iptables.looks.length]).toEqual([0, 0]);
  });

  test('iptables-legacy writes nothing, and looks at the hashes after a write and at refresh', async () => {
    const node = await CostNode.create('iptables-legacy', 20);
    const saves = node.iptables.saves.length;
    const looks = node.iptables.looks.length;
    const { operations, writes, bytes } = await node.idle(HOUR_MS);
    expect({ operations, writes, bytes }).toEqual({ operations: 0, writes: 0, bytes: 0 });
    expect(node.iptables.saves.length - saves).toBe(0);
    // Eight tables, each 180 s; and after 1, 2, 4 … 2,048 s, but those that fall on a refresh are done by it.
    expect(node.iptables.looks.length - looks).toBeGreaterThanOrEqual(8 * 20);
    expect(node.iptables.looks.length - looks).toBeLessThanOrEqual(8 * (20 + 12));
  });
});
