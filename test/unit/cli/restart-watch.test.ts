// Facts of the node that end the driver when they change, so that it starts anew over them.
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { KernelAccess } from '../../../src/cli/kernel-access.js';
import { checkIpvs, restartChecks, type RestartWatch } from '../../../src/cli/restart-watch.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';

/** kube-proxy's chains in `table ip kube-proxy`, or why they can't be listed. */
type Listing = readonly string[] | Error;

function watching(backend: 'iptables' | 'nftables', mode: 'Auto' | 'Enabled', listing: Listing) {
  const failures: unknown[] = [];
  const access = {
    nft: { listChains: () => (listing instanceof Error ? Promise.reject(listing) : Promise.resolve(listing)) },
  };
  const watch: RestartWatch = {
    config: testConfig({ nftablesMode: mode }),
    environment: testEnvironment({ backend }),
    builder: { access: access as unknown as KernelAccess, log: silentLogger },
    fail: (error) => failures.push(error),
  };
  const check = restartChecks(watch).find(({ name }) => name === 'nftables mode');
  if (check === undefined) throw new Error('no check of the mode');
  return { watch, check, failures };
}

/** Lets everything that is waiting for a settled promise run. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('kube-proxy changes its mode under NFTablesMode Auto', () => {
  it.each([
    ['iptables', ['services'], 'nftables'],
    ['nftables', [], 'iptables'],
  ] as const)('from %s', async (backend, listing, asked) => {
    const { check, failures } = watching(backend, 'Auto', listing);
    check.queueResync();
    await settle();
    expect(failures).toHaveLength(1);
    expect(String(failures[0])).toContain(`now asks for ${asked}`);
  });

  it.each([
    ['iptables', []],
    ['nftables', ['services']],
    ['nftables', new Error('nft was killed')],
    ['iptables', new Error('nft was killed')],
  ] as const)(
    'nothing happens in %s when the listing is %j: same mode, or not to be known',
    async (backend, listing) => {
      const { check, failures } = watching(backend, 'Auto', listing);
      check.queueResync();
      await settle();
      expect(failures).toEqual([]);
    },
  );

  it('is looked for every 15 s, and not at all when the mode is set', () => {
    expect(watching('iptables', 'Auto', []).check.intervalMs).toBe(15_000);
    expect(watching('nftables', 'Enabled', []).check.intervalMs).toBe(0);
  });
});

describe('kube-ipvs0', () => {
  it.each([
    ['kube-ipvs0', 'up', 1],
    ['kube-ipvs0', 'down', 1],
    ['kube-ipvs0', 'absent', 0],
    ['eth0', 'up', 0],
  ] as const)('%s %s without IPVS so far: %i', (name, state, count) => {
    const { watch, failures } = watching('iptables', 'Auto', []);
    checkIpvs(watch, { name, state, ifindex: state === 'absent' ? 0 : 7 });
    expect(failures).toHaveLength(count);
  });
});
