// Runs one fixed story against a RouteKernel in the namespace it is started in, and prints what it saw as JSON.
// Arguments: command|netlink
import { spawn } from 'node:child_process';
import { silentLogger } from '../../../src/base/logger.js';
import type { CommandRunner } from '../../../src/kernel/command.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { CommandRouteKernel } from '../../../src/routes/command-kernel.js';
import { NetlinkRouteKernel } from '../../../src/routes/netlink-kernel.js';
import type { KernelLink, KernelOperation, KernelRoute, RouteKernel } from '../../../src/routes/route-kernel.js';

const runner: CommandRunner = {
  run: (command) =>
    new Promise((resolve) => {
      const [program = '', ...args] = command.argv;
      const child = spawn(program, args);
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (data: Buffer) => {
        stdout += data.toString();
      });
      child.stderr.on('data', (data: Buffer) => {
        stderr += data.toString();
      });
      child.on('close', (exitCode, signal) =>
        resolve({ exitCode, signal, stdout, stderr, timedOut: false, durationMs: 0 }),
      );
      child.stdin.on('error', () => undefined);
      child.stdin.end(command.stdin ?? '');
    }),
};

function createKernel(kind: string | undefined): RouteKernel {
  const tools = new CommandRouteKernel({ runner, logger: silentLogger });
  if (kind === 'command') return tools;
  const { library, reason } = loadNativeLibrary();
  if (library === null) throw new Error(reason);
  return new NetlinkRouteKernel(library, tools);
}

const kernel = createKernel(process.argv[2]);

function route(dst: string, over: Partial<KernelRoute> = {}): KernelRoute {
  return {
    dst,
    tos: 0,
    priority: 1024,
    type: 'unicast',
    scope: 253,
    protocol: 3,
    gateway: null,
    src: null,
    onlink: false,
    mtu: 0,
    interfaceName: 'cali1',
    nextHops: [],
    ...over,
  };
}

const STORY: readonly KernelOperation[] = [
  { op: 'replace-route', family: 4, table: 254, route: route('10.65.0.2/32') },
  { op: 'replace-route', family: 4, table: 254, route: route('10.65.0.2/32', { src: '192.168.0.1' }) },
  {
    op: 'replace-route',
    family: 4,
    table: 254,
    route: route('10.65.9.0/24', {
      priority: 0,
      protocol: 80,
      scope: 0,
      gateway: '192.168.0.77',
      onlink: true,
      interfaceName: 'eth0',
      mtu: 1450,
    }),
  },
  {
    op: 'replace-route',
    family: 4,
    table: 254,
    route: route('10.65.1.0/26', { type: 'blackhole', protocol: 80, interfaceName: null, scope: 0 }),
  },
  {
    op: 'replace-route',
    family: 4,
    table: 7,
    route: route('10.99.0.0/16', { type: 'throw', interfaceName: null, scope: 0, priority: 0 }),
  },
  {
    op: 'replace-route',
    family: 4,
    table: 254,
    route: route('10.66.1.0/24', {
      scope: 0,
      interfaceName: null,
      nextHops: [
        { gateway: '192.168.0.5', interfaceName: 'eth0', onlink: false },
        { gateway: '192.168.0.6', interfaceName: 'eth0', onlink: false },
      ],
    }),
  },
  {
    op: 'replace-route',
    family: 4,
    table: 254,
    route: route('10.66.2.0/24', {
      scope: 0,
      interfaceName: null,
      onlink: true,
      nextHops: [
        { gateway: '192.168.0.5', interfaceName: 'eth0', onlink: true },
        { gateway: '169.254.7.7', interfaceName: 'cali1', onlink: true },
      ],
    }),
  },
  { op: 'replace-route', family: 6, table: 254, route: route('fd00:65::2/128', { scope: 0 }) },
  // Routes of others, in the place of ours or with another metric.
  { op: 'replace-route', family: 4, table: 254, route: route('10.66.0.1/32', { protocol: 12, interfaceName: 'eth0' }) },
  {
    op: 'replace-route',
    family: 4,
    table: 254,
    route: route('10.66.0.2/32', { protocol: 12, interfaceName: 'eth0', priority: 50 }),
  },
  {
    op: 'replace-route',
    family: 6,
    table: 254,
    route: route('fd00:66::1/128', { scope: 0, protocol: 12, interfaceName: 'eth0' }),
  },
  {
    op: 'replace-route',
    family: 6,
    table: 254,
    route: route('fd00:65:1::/64', { scope: 0, type: 'blackhole', protocol: 80, interfaceName: null }),
  },
  { op: 'replace-route', family: 4, table: 254, route: route('10.65.0.9/32', { interfaceName: 'nope0' }) },
  { op: 'replace-route', family: 4, table: 254, route: route('10.65.0.9/32', { interfaceName: 'down0' }) },
  { op: 'delete-route', family: 4, table: 254, route: route('10.77.0.9/32') },
  {
    op: 'replace-neighbour',
    neighbour: { family: 4, interfaceName: 'cali1', address: '10.65.0.2', mac: 'ee:ee:ee:ee:ee:01' },
  },
  {
    op: 'replace-neighbour',
    neighbour: { family: 6, interfaceName: 'cali1', address: 'fd00:65::2', mac: 'ee:ee:ee:ee:ee:01' },
  },
  {
    op: 'add-rule',
    rule: { family: 4, priority: 99, table: 7, mark: 0x200000, mask: 0x200000, invert: true, source: null },
  },
  {
    op: 'add-rule',
    rule: { family: 6, priority: 98, table: 8, mark: 0, mask: 0, invert: false, source: 'fd00:1::/64' },
  },
  {
    op: 'add-link',
    link: {
      kind: 'vxlan',
      name: 'vxlan.calico',
      vni: 4096,
      port: 4789,
      local: '192.168.0.1',
      parent: 'eth0',
      mac: '66:00:00:00:00:01',
      mtu: 1450,
    },
  },
  { op: 'set-link-up', name: 'vxlan.calico' },
  {
    op: 'add-address',
    address: { interfaceName: 'vxlan.calico', family: 4, address: '10.65.1.1', length: 32, scope: 0 },
  },
  { op: 'replace-fdb', entry: { interfaceName: 'vxlan.calico', mac: '66:00:00:00:00:02', remote: '192.168.0.2' } },
  { op: 'replace-fdb', entry: { interfaceName: 'vxlan.calico', mac: '66:00:00:00:00:03', remote: '192.168.0.3' } },
  { op: 'delete-fdb', entry: { interfaceName: 'vxlan.calico', mac: '66:00:00:00:00:03', remote: '192.168.0.3' } },
  { op: 'add-link', link: { kind: 'ifb', name: 'bwcali1', mtu: 1500 } },
  { op: 'set-link-mtu', name: 'bwcali1', mtu: 1400 },
  { op: 'set-link-mac', name: 'down0', mac: '02:aa:00:00:00:01' },
  { op: 'set-link-up', name: 'bwcali1' },
  { op: 'add-link', link: { kind: 'ifb', name: 'bwcali1', mtu: 1500 } },
  { op: 'add-link', link: { kind: 'ipip', name: 'tunl9', mtu: 1400 } },
  {
    op: 'replace-tbf',
    interfaceName: 'cali1',
    tbf: { rate: 125_000, bufferTicks: 1_000_000, limit: 100_000, peakRate: 0, minBurst: 0 },
  },
  { op: 'delete-link', name: 'gone0' },
  { op: 'add-address', address: { interfaceName: 'cali1', family: 4, address: '169.254.1.1', length: 32, scope: 253 } },
  {
    op: 'delete-address',
    address: { interfaceName: 'cali1', family: 4, address: '169.254.9.9', length: 32, scope: 253 },
  },
];

const UNDO: readonly KernelOperation[] = [
  { op: 'delete-route', family: 4, table: 254, route: route('10.65.0.2/32') },
  { op: 'delete-route', family: 6, table: 254, route: route('fd00:65::2/128') },
  {
    op: 'delete-neighbour',
    neighbour: { family: 4, interfaceName: 'cali1', address: '10.65.0.2', mac: 'ee:ee:ee:ee:ee:01' },
  },
  {
    op: 'delete-rule',
    rule: { family: 4, priority: 99, table: 7, mark: 0x200000, mask: 0x200000, invert: true, source: null },
  },
  { op: 'delete-link', name: 'bwcali1' },
];

/** What we take for ours, and somebody else has replaced. */
const SPARED: readonly KernelOperation[] = [
  { op: 'delete-route', family: 4, table: 254, route: route('10.66.0.1/32') },
  { op: 'delete-route', family: 4, table: 254, route: route('10.66.0.2/32', { priority: 0 }) },
  { op: 'delete-route', family: 6, table: 254, route: route('fd00:66::1/128', { scope: 0 }) },
];

const NAMED = ['eth0', 'vxlan.calico', 'nope0'];

function sortedRows(rows: readonly unknown[]): string[] {
  return rows.map((row) => JSON.stringify(row, Object.keys(row as object).sort())).sort();
}

/** Indexes and random MACs differ between namespaces. */
function linkRows(links: readonly KernelLink[]): string[] {
  return links
    .map(({ ifindex: _ifindex, mac, ...rest }) =>
      JSON.stringify({ ...rest, mac: rest.name === 'down0' || rest.kind === 'vxlan' ? mac : 'any' }),
    )
    .sort();
}

async function everything(): Promise<Record<string, unknown>> {
  return {
    links: linkRows(await kernel.listLinks()),
    namedLinks: linkRows((await kernel.listLinks(NAMED)).filter(({ name }) => NAMED.includes(name))),
    namedAddresses: sortedRows(
      (await kernel.listAddresses(NAMED)).filter(
        ({ interfaceName, scope }) => NAMED.includes(interfaceName) && scope !== 253,
      ),
    ),
    addresses: sortedRows(
      (await kernel.listAddresses()).filter((address) => address.scope !== 253 || address.family === 4),
    ),
    main4: sortedRows(await kernel.listRoutes(4, 254)),
    main6: sortedRows((await kernel.listRoutes(6, 254)).filter((row) => !row.dst.startsWith('fe80'))),
    throw4: sortedRows(await kernel.listRoutes(4, 7)),
    none4: sortedRows(await kernel.listRoutes(4, 99)),
    local4: sortedRows(await kernel.listRoutes(4, 255)),
    // `ip` leaves out routes with several hops when it is asked for those of an interface.
    viaEth0: sortedRows((await kernel.listRoutes(4, 254, ['eth0'])).filter(({ nextHops }) => nextHops.length === 0)),
    viaCali1: sortedRows(
      (await kernel.listRoutes(4, 254, ['cali1', 'nope0'])).filter(({ nextHops }) => nextHops.length === 0),
    ),
    rules4: sortedRows(await kernel.listRules(4)),
    rules6: sortedRows(await kernel.listRules(6)),
    neighbours4: sortedRows(await kernel.listNeighbours(4)),
    neighbours6: sortedRows(await kernel.listNeighbours(6, ['cali1'])),
    fdb: sortedRows(await kernel.listFdb('vxlan.calico')),
    noFdb: sortedRows(await kernel.listFdb('nope0')),
    trafficControl: sortedRows(
      (await kernel.listTrafficControl(['cali1'])).map((row) => ({ ...row.tbf, ingress: row.hasIngress })),
    ),
  };
}

const reasons = (results: readonly ({ readonly reason: string } | null)[]): string[] =>
  results.map((result) => result?.reason ?? 'done');
const story = reasons(await kernel.apply(STORY));
const after = await everything();
const again = reasons(await kernel.apply(STORY.filter((operation) => operation.op.startsWith('replace'))));
const undo = reasons(await kernel.apply(UNDO));
const spared = reasons(await kernel.apply(SPARED));
console.log(
  JSON.stringify({
    story: STORY.map((operation, index) => `${operation.op} ${story[index]}`),
    after,
    again,
    undo,
    spared,
    afterUndo: await everything(),
  }),
);
process.exit(0);
