// In the namespace it is started in: compares what netlink tells of sysctls with their files, for every sysctl that is
// written on workload interfaces, and what is written with netlink's help and without. Prints JSON.
// Arguments: SEED; the interfaces are cali0, cali1, ...
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { silentLogger } from '../../../src/base/logger.js';
import { InterfaceSysctlsReconciler } from '../../../src/interfaces/interface-sysctls.js';
import type { SysctlLister } from '../../../src/interfaces/link-kernel.js';
import { hostFiles } from '../../../src/kernel/files.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { CommandRouteKernel } from '../../../src/routes/command-kernel.js';
import { NetlinkRouteKernel } from '../../../src/routes/netlink-kernel.js';
import { ManagedNode } from '../../fakes/managed-node.js';

const { library, reason } = loadNativeLibrary();
if (library === null) throw new Error(reason);
const noTools = { run: () => Promise.reject(new Error('no tools here')) };
const kernel = new NetlinkRouteKernel(library, new CommandRouteKernel({ runner: noTools, logger: silentLogger }));
const names = readdirSync('/proc/sys/net/ipv4/conf').filter((name) => /^cali\d+$/.test(name));
const wanted = Object.entries(new ManagedNode().setInterface('cali0', 'up').apply().sysctls.wanted('cali0'));
/** `ipv4/conf/rp_filter` → value, of everything that is written. */
const settings = new Map(wanted.map(([path, value]) => [path.replace('net/', '').replace('/cali0', ''), value]));

let random = Number(process.argv[2]);
function next(below: number): number {
  random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
  return (random >>> 16) % below;
}

function fileOf(name: string, setting: string): string {
  const [family, folder, key] = setting.split('/');
  return `/proc/sys/net/${family}/${folder}/${name}/${key}`;
}

/** A value for each sysctl that each interface has. */
const values = names.flatMap((name) =>
  [...settings.keys()].map((setting): [file: string, value: string] => {
    const most = setting.endsWith('rp_filter') ? 3 : 2;
    return [fileOf(name, setting), String(next(most) * (setting.endsWith('proxy_delay') ? 80 : 1))];
  }),
);

function scatter(): void {
  for (const [file, value] of values) if (existsSync(file)) writeFileSync(file, value);
}

/** Values that netlink tells otherwise than the file, and how often each sysctl was told at all. */
async function compare(): Promise<{ differences: string[]; told: Record<string, number> }> {
  const listed = await kernel.listSysctls();
  const differences: string[] = [];
  const told: Record<string, number> = {};
  for (const name of names) {
    for (const setting of settings.keys()) {
      const value = listed.get(name)?.[setting];
      if (value === undefined) continue;
      told[setting] = (told[setting] ?? 0) + 1;
      const file = readFileSync(fileOf(name, setting), 'utf8').trim();
      if (String(value) !== file) differences.push(`${name} ${setting}: ${value} instead of ${file}`);
    }
  }
  return { differences, told };
}

/** Writes, in order, of an apply over the scattered values, and of one over what that left; reads of both. */
async function reconcile(lister: SysctlLister | null): Promise<{ writes: string[]; reads: number[] }> {
  scatter();
  const writes: string[] = [];
  const reads: number[] = [];
  const sysctls = new InterfaceSysctlsReconciler({
    files: {
      ...hostFiles,
      read: (path) => {
        reads[reads.length - 1] = (reads.at(-1) ?? 0) + 1;
        return hostFiles.read(path);
      },
    },
    logger: silentLogger,
    observe: ({ object }) => writes.push(object),
    procSys: '/proc/sys',
    lister,
  });
  const request = (): void => {
    for (const name of names) {
      for (const [owner, folder] of [
        ['v4', 'ipv4'],
        ['v6', 'ipv6'],
      ] as const) {
        const own = [...settings].filter(([setting]) => setting.startsWith(folder) || setting.endsWith('accept_ra'));
        sysctls.request(
          name,
          owner,
          own.map(([setting, value]) => ({ path: fileOf(name, setting).replace('/proc/sys/', ''), value })),
        );
      }
    }
  };
  for (let round = 0; round < 2; round += 1) {
    reads.push(0);
    request();
    const { failed } = await sysctls.apply();
    writes.push(failed === true ? 'failed' : 'done');
  }
  return { writes, reads };
}

scatter();
const comparison = await compare();
const withNetlink = await reconcile(kernel);
const withFiles = await reconcile(null);
kernel.close();
console.log(JSON.stringify({ settings: [...settings.keys()].sort(), comparison, withNetlink, withFiles }));
