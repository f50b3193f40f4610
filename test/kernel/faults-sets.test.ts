// Sets harmed by hand, in use, of the wrong type or too big (tests.md F9, F10, F18), and rules that the kernel refuses:
// one bad object closes the endpoints that need it, and no others.
import { describe, expect, test } from 'vitest';
import type { Mode } from '../fixtures/recording.js';
import { ipSet, ipSetDelta, ipSetRemove } from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import type { KernelDump } from './support/dump.js';
import { type FaultNode, pod, useFaultNodes, webPolicy } from './support/faults.js';

const start = useFaultNodes();
const REFRESH = { IpsetsRefreshInterval: '1', IptablesRefreshInterval: '1', NftablesRefreshInterval: '1' };
const BACKENDS = ['iptables-nft', 'nftables'] as const;

/** Name of the kernel's set that holds `member`. */
async function kernelSet(node: FaultNode, member: string): Promise<string> {
  if (node.mode !== 'nftables') {
    const saved = await node.namespace.run(['ipset', 'save']);
    return new RegExp(`^add (cali40\\S+) ${member.replaceAll('.', '\\.')}$`, 'm').exec(saved)?.[1] ?? '';
  }
  const listing = await node.namespace.run(['nft', '-s', 'list', 'table', 'ip', 'calico']);
  const block = listing
    .split(/^\t(?=set )/m)
    .find((text) => text.includes(`${member},`) || text.includes(`${member} }`));
  return /^set (\S+)/.exec(block ?? '')?.[1] ?? '';
}

/** The lines of a dump that speak of a pod's own chains. */
function chainsOf(dump: KernelDump, mode: Mode, index: number): string[] {
  const text = dump[mode === 'nftables' ? 'nft' : mode] ?? '';
  if (mode !== 'nftables') return text.split('\n').filter((line) => line.startsWith(`-A cali-tw-cali${index} `));
  const block = text.split(/^\t(?=chain )/m).find((part) => part.startsWith(`chain filter-cali-tw-cali${index} `));
  return (block ?? '').split('\n');
}

describe('F10 members changed by hand', () => {
  test.each(BACKENDS)('in %s: flushed, added and deleted members are right again, foreign sets stay', async (mode) => {
    const node = await start({
      mode,
      parameters: REFRESH,
      messages: [ipSet('s:two', ['10.67.0.0/24', '10.68.0.1/32'])],
    });
    await node.settled();
    if (mode === 'nftables')
      await node.namespace.shell(
        "nft add table ip foreign; nft 'add set ip foreign mine { type ipv4_addr; }'; nft 'add element ip foreign mine { 192.0.2.1 }'",
      );
    else await node.namespace.shell('ipset create mine hash:ip; ipset add mine 192.0.2.1');
    const before = await node.settled();
    const first = await kernelSet(node, '10.66.0.0/24');
    const second = await kernelSet(node, '10.68.0.1');
    expect([first, second]).not.toContain('');
    await node.namespace.shell(
      mode === 'nftables'
        ? `nft flush set ip calico ${first}; nft 'add element ip calico ${second} { 10.99.0.0/16 }'; nft 'delete element ip calico ${second} { 10.68.0.1 }'`
        : `ipset flush ${first}; ipset add ${second} 10.99.0.0/16; ipset del ${second} 10.68.0.1`,
    );
    await node.becomes(before);
  });
});

describe('F9 a set that is there already', () => {
  const harmed = async (
    prepare: (name: string) => string,
  ): Promise<{ node: FaultNode; before: KernelDump; name: string }> => {
    const node = await start({ mode: 'iptables-nft', parameters: REFRESH });
    const before = await node.settled();
    const name = await kernelSet(node, '10.66.0.0/24');
    await node.driver.stop();
    await node.namespace.shell(`for t in filter raw mangle nat; do iptables-nft -t $t -F; done
      ipset list -name | grep ^cali40s: | xargs -n1 ipset destroy
      ${prepare(name)}`);
    node.startDriver();
    return { node, before, name };
  };

  test.each([
    ['of the wrong type and not in use', (name: string) => `ipset create ${name} hash:ip,port`],
    ['too small', (name: string) => `ipset create ${name} hash:net maxelem 1`],
    [
      'full of other members',
      (name: string) => `ipset create ${name} hash:net maxelem 1048576; ipset add ${name} 10.99.0.0/16`,
    ],
    [
      'of our prefix and nobody needs it',
      () => 'ipset create cali40s:foreign hash:net; ipset add cali40s:foreign 10.99.0.0/16',
    ],
  ])('%s becomes right at the start', async (_what, prepare) => {
    const { node, before } = await harmed(prepare);
    await node.becomes(before);
    await node.statusBecomes(() => node.podStatus(1), 'up');
  });

  test('of the wrong type and used by a foreign rule closes its users, and heals when the rule is gone', async () => {
    const { node, before } = await harmed(
      (name) => `ipset create ${name} hash:ip,port
        iptables-nft -N foreign; iptables-nft -A foreign -m set --match-set ${name} src,dst -j RETURN`,
    );
    node.send(pod(1, []));
    await node.statusBecomes(() => node.podStatus(2), 'error');
    await node.statusBecomes(() => node.podStatus(1), 'up');
    await node.namespace.shell('iptables-nft -F foreign; iptables-nft -X foreign');
    await node.statusBecomes(() => node.podStatus(2), 'up');
    node.send(pod(1));
    await node.becomes(before);
  });
});

describe('a set bigger than MaxIpsetSize', () => {
  // nftables' sets have no size of their own (dataplane.md 2.1), so only ipset refuses.
  test.each(['iptables-legacy', 'iptables-nft'] as const)(
    'in %s closes the endpoints that use it, no others, and they come back with it',
    async (mode) => {
      const many = Array.from({ length: 20 }, (_, index) => `10.70.${index}.0/24`);
      const node = await start({
        mode,
        pods: 3,
        parameters: { ...REFRESH, MaxIpsetSize: '10' },
        messages: [
          ipSet('s:many', many.slice(0, 5)),
          webPolicy('np/default/many', 's:many'),
          pod(2, ['np/default/many']),
        ],
      });
      const before = await node.settled();
      node.send(ipSetDelta('s:many', many.slice(5)));
      await node.statusBecomes(() => node.podStatus(2), 'error');
      expect(node.podStatus(1)).toBe('up');
      await waitFor(
        async () => /^-A cali-pi-np\/default\/many .* -j DROP$/m.test((await node.settled())[mode] ?? ''),
        () => `the policy goes by the members that are left\n${node.problems()}`,
      );
      node.send(pod(3, []));
      await waitFor(
        async () => chainsOf(await node.settled(), mode, 3).length !== chainsOf(before, mode, 3).length,
        () => `pod 3 is not programmed\n${node.problems()}`,
      );
      expect(chainsOf(await node.settled(), mode, 1)).toEqual(chainsOf(before, mode, 1));
      node.send(ipSetDelta('s:many', [], many.slice(5)), pod(3));
      await node.statusBecomes(() => node.podStatus(2), 'up');
      await node.becomes(before);
    },
  );
});

describe('a rule that the kernel refuses', () => {
  test.each(['iptables-legacy', 'iptables-nft', 'nftables'] as const)(
    'in %s (it names a set that never came) closes its endpoint alone until the set comes',
    async (mode) => {
      const node = await start({ mode, pods: 3, parameters: REFRESH });
      const before = await node.settled();
      node.send(webPolicy('np/default/broken', 's:never'), pod(2, ['np/default/broken']), pod(3, []));
      await node.statusBecomes(() => node.podStatus(2), 'error');
      await node.statusBecomes(() => node.podStatus(3), 'up');
      const during = await node.settled();
      expect(chainsOf(during, mode, 1)).toEqual(chainsOf(before, mode, 1));
      expect(chainsOf(during, mode, 3)).not.toEqual(chainsOf(before, mode, 3));
      node.send(ipSet('s:never', ['10.66.0.0/24']));
      await node.statusBecomes(() => node.podStatus(2), 'up');
      node.send(pod(2), pod(3));
      await waitFor(
        async () =>
          JSON.stringify(chainsOf(await node.settled(), mode, 3)) === JSON.stringify(chainsOf(before, mode, 3)),
        () => node.problems(),
      );
    },
  );
});

describe('F18 two thousand sets', () => {
  const COUNT = 2_000;
  const ids = Array.from({ length: COUNT }, (_, index) => `s:bulk${index}`);

  async function count(node: FaultNode): Promise<number> {
    if (node.mode === 'nftables')
      return (await node.namespace.run(['nft', 'list', 'sets', 'ip']))
        .split('\n')
        .filter((line) => /cali40s/.test(line)).length;
    return (await node.namespace.run(['ipset', 'list', '-name']))
      .split('\n')
      .filter((name) => name.startsWith('cali40s:')).length;
  }

  test.each(BACKENDS)('in %s appear, begin to go, and are all there again; pods are served meanwhile', async (mode) => {
    const node = await start({ mode });
    const own = await count(node);
    const add = ids.map((id, index) => ipSet(id, [`10.${80 + (index >> 8)}.${index & 255}.0/24`]));
    node.send(...add);
    await waitFor(
      async () => (await count(node)) === own + COUNT,
      () => node.problems(),
      60_000,
    );
    node.send(...ids.map(ipSetRemove));
    await waitFor(
      async () => (await count(node)) < own + COUNT,
      () => `no set goes\n${node.problems()}`,
    );
    node.send(pod(2, []));
    const applied = node.driver.logs.length;
    await waitFor(
      () =>
        node.driver.logs
          .slice(applied)
          .some((line) => line.msg === 'Operation' && /cali2/.test(String(line['object']))),
      () => 'the pod waits for the deletions',
    );
    node.send(...add);
    await waitFor(
      async () => (await count(node)) === own + COUNT,
      () => node.problems(),
      60_000,
    );
    expect(node.problems()).toBe('');
  });
});
