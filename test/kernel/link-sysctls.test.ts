import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createNamespace, type Namespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('link-sysctls');
const INTERFACES = 70;

interface Comparison {
  readonly differences: readonly string[];
  readonly told: Readonly<Record<string, number>>;
}

interface Reconciliation {
  readonly writes: readonly string[];
  readonly reads: readonly number[];
}

interface Report {
  readonly settings: readonly string[];
  readonly comparison: Comparison;
  readonly withNetlink: Reconciliation;
  readonly withFiles: Reconciliation;
}

let namespace: Namespace;

beforeEach(async () => {
  namespace = await createNamespace('linksysctl');
  const links = Array.from({ length: INTERFACES }, (_, index) => `link add cali${index} type veth peer name p${index}`);
  await namespace.run(['ip', '-batch', '-'], { input: `${links.join('\n')}\n` });
});

afterEach(async () => {
  await namespace.remove();
});

async function report(seed: number): Promise<Report> {
  return JSON.parse(await namespace.run([...PROGRAM, String(seed)])) as Report;
}

describe('sysctls by netlink', () => {
  const seed = Math.floor(Math.random() * 1_000_000);

  test(`are what the files say, for every sysctl that is written (seed ${seed})`, async () => {
    const { settings, comparison } = await report(seed);
    expect(comparison.differences).toEqual([]);
    expect(Object.keys(comparison.told).sort()).toEqual(settings);
    for (const setting of settings.filter((name) => !name.endsWith('proxy_delay'))) {
      expect([setting, comparison.told[setting]]).toEqual([setting, INTERFACES]);
    }
  });

  test(`lead to the same writes in the same order as files do, with few reads (seed ${seed})`, async () => {
    const { withNetlink, withFiles } = await report(seed);
    expect(withNetlink.writes).toEqual(withFiles.writes);
    expect(withFiles.writes.length).toBeGreaterThan(INTERFACES);
    // Nine files of each interface; with netlink, at first those that it doesn't tell or that were right a while ago.
    expect(withFiles.reads).toEqual([INTERFACES * 9, INTERFACES * 9]);
    expect(withNetlink.reads[0]).toBeLessThan(INTERFACES * 5);
    expect(withNetlink.reads[1]).toBe(0);
  });

  test(`leave out what a link without IPv6 does not have, with the same failure (seed ${seed})`, async () => {
    await namespace.run(['ip', 'link', 'set', 'cali2', 'mtu', '1000']);
    const { comparison, withNetlink, withFiles } = await report(seed);
    expect(comparison.differences).toEqual([]);
    expect(comparison.told['ipv6/conf/accept_ra']).toBe(INTERFACES - 1);
    expect(comparison.told['ipv4/conf/proxy_arp']).toBe(INTERFACES);
    expect(withNetlink.writes).toEqual(withFiles.writes);
    expect(withNetlink.writes.at(-1)).toBe('failed');
  });
});
