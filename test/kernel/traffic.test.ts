// The instrument of the kill tests: traffic sees a hole of a moment, and a gap of a moment, and is quiet without them.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from './support/driver-process.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import { Traffic } from './support/traffic.js';

const PAIRS = [
  { from: 'p1', to: 'p0', port: 8055, passes: true },
  { from: 'p1', to: 'p0', port: 8056, passes: false },
];
const DENY = 'add rule inet t f th dport 8056 drop';

let node: PacketNode;

beforeEach(async () => {
  node = await PacketNode.create({ pods: podPlugs(2) });
  const routes = node.plugs.map(
    ({ interfaceName, v4, v6 }) => `
    ip route add ${v4} dev ${interfaceName}; ip -6 route add ${v6} dev ${interfaceName}
    sysctl -qw net.ipv4.conf.${interfaceName}.proxy_arp=1`,
  );
  await node.namespace.shell(`${routes.join('')}
    nft 'add table inet t; add chain inet t f { type filter hook forward priority 0; policy accept; }; ${DENY}'`);
});
afterEach(() => node.remove());

/** Lets the traffic run, with a moment in which the rules are other ones. */
async function faultsAround(moment: string): Promise<readonly string[]> {
  const traffic = await Traffic.start(node, PAIRS);
  const enough = async (): Promise<void> => {
    const before = await traffic.exchanges();
    await waitFor(
      async () => (await traffic.exchanges()) > before + 40,
      () => 'no traffic',
    );
  };
  await enough();
  if (moment !== '') {
    await node.namespace.run(['sh', '-c', `nft '${moment}'; sleep 0.02; nft 'flush chain inet t f; ${DENY}'`]);
    await enough();
  }
  return (await traffic.stop()).faults;
}

test('nothing is seen where rules hold', async () => {
  expect(await faultsAround('')).toEqual([]);
});

test('a moment without rules is seen', async () => {
  expect((await faultsAround('flush chain inet t f')).join()).toContain('passed that are denied');
});

test('a moment in which all is dropped is seen', async () => {
  expect((await faultsAround('add rule inet t f drop')).join()).toMatch(/dropped/);
});
