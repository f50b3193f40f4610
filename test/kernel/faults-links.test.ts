// Interfaces that flap, vanish, come late or are claimed twice, and a control plane that does not read its statuses
// (tests.md F12, F13, F23, F25).
import { describe, expect, test } from 'vitest';
import { host, workload, workloadRemove } from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import { dumpKernel } from './support/dump.js';
import { type FaultNode, pod, podLinks, useFaultNodes } from './support/faults.js';

const start = useFaultNodes();
const LINK_1 = 'ip link add cali1 type veth peer name peer1; ip link set cali1 up; ip link set peer1 up';
const BACKENDS = ['iptables-nft', 'nftables'] as const;

function routeOf(node: FaultNode, address: string): Promise<string> {
  return node.namespace.run(['ip', 'route', 'show', address]);
}

describe('F12 an interface that flaps', () => {
  test.each(BACKENDS)('every 110 ms in %s ends as before, with its route, and without errors', async (mode) => {
    const node = await start({ mode });
    const before = await node.settled();
    const flaps = Array.from(
      { length: 18 },
      () => 'ip link set cali1 down; sleep 0.11; ip link set cali1 up; sleep 0.11',
    );
    await node.namespace.shell(flaps.join('\n'));
    await node.becomes(before);
    await node.statusBecomes(() => node.podStatus(1), 'up');
    expect(node.driver.logs.filter((line) => Number(line['level']) >= 50)).toEqual([]);
  });

  test('is down while its pod is told down, and has no route then', async () => {
    const node = await start({ mode: 'iptables-nft' });
    const before = await node.settled();
    await node.namespace.shell('ip link set cali1 down');
    await node.statusBecomes(() => node.podStatus(1), 'down');
    expect(node.podStatus(2)).toBe('up');
    await waitFor(
      async () => (await routeOf(node, '10.65.0.1')) === '',
      () => 'the route stays',
    );
    await node.namespace.shell('ip link set cali1 up');
    await node.statusBecomes(() => node.podStatus(1), 'up');
    await node.becomes(before);
  });
});

describe('F13 a link', () => {
  test.each(BACKENDS)(
    'deleted in the middle of updates in %s is told down, and comes back with a new index',
    async (mode) => {
      const node = await start({ mode, pods: 3 });
      const before = await node.settled();
      for (let round = 0; round < 4; round++) {
        node.send(pod(1, []), pod(2, []), pod(3));
        await node.namespace.shell(`${round === 0 ? '' : LINK_1}\nip link del cali1`);
        node.send(pod(1), pod(2));
      }
      await node.statusBecomes(() => node.podStatus(1), 'down');
      expect(node.podStatus(2)).toBe('up');
      await node.namespace.shell(LINK_1);
      await node.statusBecomes(() => node.podStatus(1), 'up');
      await node.becomes(before);
    },
  );

  test('made after its endpoint is told down first, then up, with route and settings', async () => {
    const node = await start({ mode: 'nftables' });
    node.send(pod(3));
    await node.statusBecomes(() => node.podStatus(3), 'down');
    await node.namespace.shell(podLinks(3).split('\n').slice(-3).join('\n'));
    await node.statusBecomes(() => node.podStatus(3), 'up');
    expect(await routeOf(node, '10.65.0.3')).toMatch(/dev cali3/);
    expect(await node.namespace.run(['cat', '/proc/sys/net/ipv4/conf/cali3/proxy_arp'])).toBe('1\n');
    node.send(workloadRemove('default/pod3'));
    await node.statusBecomes(() => node.podStatus(3), undefined);
    await waitFor(
      async () => (await routeOf(node, '10.65.0.3')) === '',
      () => 'the route stays',
    );
  });

  test('renamed away is gone, renamed back is there', async () => {
    const node = await start({ mode: 'nftables' });
    const before = await node.settled();
    await node.namespace.shell('ip link set cali1 down; ip link set cali1 name other1; ip link set other1 up');
    await node.statusBecomes(() => node.podStatus(1), 'down');
    await node.namespace.shell('ip link set other1 down; ip link set other1 name cali1; ip link set cali1 up');
    await node.statusBecomes(() => node.podStatus(1), 'up');
    await node.becomes(before);
  });
});

describe('F23 endpoints', () => {
  test('two on one interface: the lower id is programmed; the other takes over when it goes', async () => {
    const node = await start({ mode: 'iptables-nft' });
    const before = await node.settled();
    const rival = workload('default/pod0', 'cali1', {
      mac: 'ee:ee:ee:ee:ee:aa',
      profileIds: [],
      ipv4Nets: ['10.65.0.77/32'],
    });
    node.send(rival);
    await waitFor(
      async () => (await routeOf(node, '10.65.0.77')) !== '',
      () => `the lower id has no route\n${node.problems()}`,
    );
    const saved = await node.namespace.run(['iptables-nft', '-S', 'cali-tw-cali1']);
    expect(saved, 'the policy of the higher id does not count').not.toContain('default/web');
    node.send(workloadRemove('default/pod0'));
    await node.statusBecomes(() => node.podStatus(1), 'up');
    await waitFor(
      async () =>
        JSON.stringify((await dumpKernel(node.namespace, node.mode))['route4']) === JSON.stringify(before['route4']),
      () => node.problems(),
    );
    const after = await node.settled();
    expect(after['iptables-nft']).toEqual(before['iptables-nft']);
  });

  test.each(BACKENDS)(
    'a host endpoint on a missing interface in %s is in error until the interface comes',
    async (mode) => {
      const node = await start({ mode });
      const before = await node.settled();
      node.send(host('late', { name: 'eth7', profileIds: ['open'], expectedIpv4Addrs: ['192.0.2.7'] }));
      await node.statusBecomes(() => node.hostStatus('late'), 'error');
      expect((await node.settled())[mode === 'nftables' ? 'nft' : mode]).toBe(
        before[mode === 'nftables' ? 'nft' : mode],
      );
      await node.namespace.shell('ip link add eth7 type veth peer name ext7; ip link set eth7 up; ip link set ext7 up');
      await node.statusBecomes(() => node.hostStatus('late'), 'up');
      expect((await node.settled())[mode === 'nftables' ? 'nft' : mode]).toContain('-th-eth7');
    },
  );
});

describe('F25 a control plane that does not read its statuses', () => {
  test('does not keep the driver from programming, and gets the last word on each endpoint when it reads', async () => {
    const PODS = 400;
    const ROUNDS = 12;
    const node = await start({ mode: 'nftables' });
    await node.settled();
    node.driver.pauseReading();
    const ids = Array.from({ length: PODS }, (_, index) => `bulk/${'long-name-'.repeat(10)}${index}`);
    for (let round = 0; round < ROUNDS; round++) {
      const applied = node.driver.logs.filter((line) => line.msg === 'Applied').length;
      node.send(
        ...ids.map((id, index) =>
          round % 2 === 0 ? workload(id, `missing${index}`, { ipv4Nets: ['10.65.3.3/32'] }) : workloadRemove(id),
        ),
      );
      await waitFor(
        () => node.driver.logs.filter((line) => line.msg === 'Applied').length > applied,
        () => `round ${round}: no apply while nobody reads`,
      );
    }
    node.send(pod(1, []));
    await waitFor(
      async () =>
        !(await node.namespace.run(['nft', 'list', 'chain', 'ip', 'calico', 'filter-cali-tw-cali1'])).includes(
          'default/web',
        ),
      () => `the pod is not programmed while nobody reads\n${node.problems()}`,
    );
    node.send(workload('default/last', 'missing-last', {}));
    node.driver.resumeReading();
    await node.statusBecomes(() => node.workloadStatus('default/last'), 'down');
    await node.statusBecomes(() => node.workloadStatus(ids[7] ?? ''), undefined);
    expect(node.podStatus(1)).toBe('up');
  });
});
