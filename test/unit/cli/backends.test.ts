// What the back ends are put together from.
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { type BackendOptions, createIptablesBackends, createNftablesBackends } from '../../../src/cli/backends.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import { Metrics } from '../../../src/metrics/metrics.js';
import { FakeClock } from '../../fakes/clock.js';
import { testConfig } from '../../fakes/config.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';

function options(overrides: ReadonlyMap<string, boolean>, nftVersion = 'nftables v1.0.6'): BackendOptions {
  const result = { exitCode: 0, stdout: nftVersion, stderr: '', timedOut: false };
  const access = {
    runner: { run: () => Promise.resolve(result) },
    nft: new FakeNftKernel(),
    commits: null,
    taggedRules: null,
  };
  return {
    config: testConfig({ featureDetectOverride: overrides }),
    features: MODERN_FEATURES,
    access: access as unknown as BackendOptions['access'],
    clock: new FakeClock(),
    log: silentLogger,
    onOperation: () => undefined,
    metrics: new Metrics(),
  };
}

describe('the ARP table', () => {
  const both = async (made: BackendOptions): Promise<boolean[]> => {
    const backends = [await createIptablesBackends(made, 'nft'), await createNftablesBackends(made)];
    return backends.map(({ arpTable }) => arpTable !== null);
  };

  it('exists in every mode', async () => {
    expect(await both(options(new Map()))).toEqual([true, true]);
    expect(await both(options(new Map([['NFTablesSupported', true]])))).toEqual([true, true]);
  });

  it('is left out where nft cannot be used, and where FeatureDetectOverride says so', async () => {
    expect(await both(options(new Map(), 'no version'))).toEqual([false, false]);
    expect(await both(options(new Map([['NFTablesSupported', false]])))).toEqual([false, false]);
  });
});
