import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { InterfaceSysctlsReconciler } from '../../../src/interfaces/interface-sysctls.js';
import type { ListedSysctls } from '../../../src/interfaces/link-kernel.js';
import type { HostFiles } from '../../../src/kernel/files.js';

const MANY = 100;
const NAMES = Array.from({ length: MANY }, (_, index) => `cali${index}`);

/** Sysctls in memory, which netlink tells as they are at the moment of the listing. */
class Sysctls implements HostFiles {
  readonly values = new Map<string, string>();
  readonly reads: string[] = [];
  readonly writes: string[] = [];
  listings = 0;
  /** Values that netlink tells; all of `values` unless a test says otherwise. */
  told: (path: string) => boolean = () => true;
  beforeWrite: (path: string) => void | Promise<void> = () => undefined;
  fails = false;

  read(path: string): Promise<string | null> {
    this.reads.push(path);
    return Promise.resolve(this.values.get(path) ?? null);
  }
  async write(path: string, text: string): Promise<void> {
    await this.beforeWrite(path);
    if (!this.values.has(path)) throw new Error(`no ${path}`);
    this.writes.push(path);
    this.values.set(path, text);
  }
  list(path: string): Promise<string[]> {
    return Promise.resolve([...this.values.keys()].filter((file) => file.startsWith(`${path}/`)));
  }
  replace = (): Promise<never> => Promise.reject(new Error('not used'));
  remove = (): Promise<never> => Promise.reject(new Error('not used'));
  stamp = (): Promise<never> => Promise.reject(new Error('not used'));

  listSysctls(): Promise<ReadonlyMap<string, ListedSysctls>> {
    this.listings += 1;
    if (this.fails) return Promise.reject(new Error('no netlink'));
    const listed = NAMES.map((name): [string, ListedSysctls] => {
      const own = [...this.values].filter(([path]) => path.includes(`/${name}/`) && this.told(path));
      return [
        name,
        Object.fromEntries(
          own.map(([path, value]) => [path.replace('/proc/sys/net/', '').replace(`${name}/`, ''), Number(value)]),
        ),
      ];
    });
    return Promise.resolve(new Map(listed));
  }
}

const pathOf = (name: string, setting: string): string => `net/ipv4/conf/${name}/${setting}`;
const fileOf = (name: string, setting: string): string => `/proc/sys/${pathOf(name, setting)}`;

function create(names: readonly string[] = NAMES, value = '1\n') {
  const kernel = new Sysctls();
  for (const name of names) {
    for (const setting of ['proxy_arp', 'rp_filter']) kernel.values.set(fileOf(name, setting), value);
  }
  const sysctls = new InterfaceSysctlsReconciler({
    files: kernel,
    logger: silentLogger,
    observe: () => undefined,
    procSys: '/proc/sys',
    lister: kernel,
  });
  const request = (name: string, owner = 'v4'): void =>
    sysctls.request(name, owner, [
      { path: pathOf(name, 'proxy_arp'), value: '1' },
      { path: pathOf(name, 'rp_filter'), value: '1' },
    ]);
  return { kernel, sysctls, request };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('InterfaceSysctlsReconciler with a listing', () => {
  it('reads no file of many interfaces that are right', async () => {
    const { kernel, sysctls, request } = create();
    for (const name of NAMES) request(name);
    expect(await sysctls.apply()).toEqual({ refused: [], operations: 0 });
    expect([kernel.listings, kernel.reads, kernel.writes]).toEqual([1, [], []]);
    expect(sysctls.isConfigured('cali0', 'v4')).toBe(true);
  });

  it('takes a listing for each apply, and none for a few interfaces', async () => {
    const { kernel, sysctls, request } = create();
    for (const name of NAMES) request(name);
    await sysctls.apply();
    kernel.values.set(fileOf('cali7', 'rp_filter'), '0');
    for (const name of NAMES) request(name);
    expect((await sysctls.apply()).operations).toBe(1);
    request('cali8');
    await sysctls.apply();
    expect([kernel.listings, kernel.reads.length]).toEqual([2, 2]);
  });

  it('writes what the listing says is wrong without reading, once for two owners, in the order of requests', async () => {
    const { kernel, sysctls, request } = create(NAMES, '0\n');
    for (const name of NAMES) for (const owner of ['v4', 'v6']) request(name, owner);
    expect((await sysctls.apply()).operations).toBe(2 * MANY);
    expect(kernel.writes).toEqual(NAMES.flatMap((name) => [fileOf(name, 'proxy_arp'), fileOf(name, 'rp_filter')]));
    // The second owner's are no longer as the listing says.
    expect(kernel.reads).toEqual(kernel.writes);
  });

  it('reads the files of what the listing does not tell, and all of them when there is none', async () => {
    const { kernel, sysctls, request } = create(NAMES, '0\n');
    kernel.told = (path) => !path.endsWith('rp_filter');
    for (const name of NAMES) request(name);
    expect((await sysctls.apply()).operations).toBe(2 * MANY);
    expect(kernel.reads).toEqual(NAMES.map((name) => fileOf(name, 'rp_filter')));
    kernel.fails = true;
    kernel.reads.length = 0;
    for (const name of NAMES) request(name);
    expect((await sysctls.apply()).operations).toBe(0);
    expect(kernel.reads.length).toBe(2 * MANY);
  });

  it('does not trust a right value once the event loop has turned', async () => {
    const { kernel, sysctls, request } = create();
    const [first = '', second = ''] = NAMES;
    kernel.values.set(fileOf(first, 'proxy_arp'), '0');
    kernel.beforeWrite = async () => {
      await turn();
      kernel.values.set(fileOf(second, 'proxy_arp'), '0');
      kernel.beforeWrite = () => undefined;
    };
    for (const name of NAMES) request(name);
    await sysctls.apply();
    expect(kernel.writes).toEqual([fileOf(first, 'proxy_arp'), fileOf(second, 'proxy_arp')]);
  });

  it('does not trust it for an interface that was asked for anew, maybe another one of its name', async () => {
    const { kernel, sysctls, request } = create();
    const [first = '', second = ''] = NAMES;
    kernel.values.set(fileOf(first, 'proxy_arp'), '0');
    kernel.beforeWrite = () => {
      kernel.beforeWrite = () => undefined;
      kernel.values.set(fileOf(second, 'rp_filter'), '0');
      request(second);
    };
    for (const name of NAMES) request(name);
    await sysctls.apply();
    expect(kernel.writes).toEqual([fileOf(first, 'proxy_arp'), fileOf(second, 'rp_filter')]);
    expect(sysctls.isConfigured(second, 'v4')).toBe(true);
  });

  it('still forgives interfaces that are gone, and refuses paths of others', async () => {
    const { kernel, sysctls, request } = create(NAMES.slice(1));
    for (const name of NAMES) request(name);
    sysctls.request('cali1', 'evil', [{ path: pathOf('cali2', 'rp_filter'), value: '0' }]);
    expect((await sysctls.apply()).failed).toBe(true);
    expect([sysctls.isConfigured('cali0', 'v4'), sysctls.isConfigured('cali1', 'evil')]).toEqual([false, false]);
    expect(kernel.values.get(fileOf('cali2', 'rp_filter'))).toBe('1\n');
  });
});
