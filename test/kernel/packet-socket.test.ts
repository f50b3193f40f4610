import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createNamespace, type Namespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('frames');
const NODE_MAC = '02:00:00:00:00:01';

let node: Namespace;
let client: Namespace;
let child: ChildProcess | null = null;
let output = '';

beforeEach(async () => {
  node = await createNamespace('frames');
  client = await createNamespace('client');
  output = '';
  await node.shell(`
    sysctl -qw net.ipv6.conf.default.accept_dad=0
    ip link add eth0 address ${NODE_MAC} type veth peer name ext0 address 02:00:00:00:00:99 netns ${client.name}
    ip addr add 192.168.0.1/24 dev eth0; ip addr add fd00::1/64 dev eth0 nodad
    ip link set eth0 up`);
  await client.shell(`
    sysctl -qw net.ipv4.conf.ext0.arp_accept=1
    ip addr add 192.168.0.9/24 dev ext0; ip addr add fd00::9/64 dev ext0 nodad
    ip link set ext0 up`);
  // A link's queue drops what is sent before the kernel has noticed its carrier, which takes longer than an `ip` command.
  for (const [namespace, link] of [
    [node, 'eth0'],
    [client, 'ext0'],
  ] as const) {
    await until(async () => expect(await namespace.run(['ip', 'link', 'show', link])).toContain('state UP'));
  }
});

afterEach(async () => {
  const running = child;
  child = null;
  // A program that has nothing left to watch has ended by itself.
  if (running !== null && running.exitCode === null && running.signalCode === null) {
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGTERM');
    await gone;
  }
  await Promise.all([node.remove(), client.remove()]);
});

function start(...args: readonly string[]): void {
  const [program = '', ...rest] = [...node.enter, ...PROGRAM, ...args];
  child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
}

async function until(check: () => Promise<void> | void): Promise<void> {
  await vi.waitFor(check, { timeout: 30_000, interval: 50 });
}

const neighbour = (address: string): Promise<string> => client.run(['ip', 'neigh', 'show', address]);
/** Sends one datagram, so that the client asks who has the address. */
const ask = (address: string): Promise<string> =>
  client.run(['bash', '-c', `echo x > /dev/udp/${address}/9`], { reject: false });

describe('ProxyNeighbourReconciler over raw sockets', () => {
  test('answers ARP and solicitations for pod addresses of the subnet, announces them, and is silent on others', async () => {
    await client.run(['ip', 'neigh', 'add', 'fd00::50', 'lladdr', '02:00:00:00:00:77', 'nud', 'stale', 'dev', 'ext0']);
    start('proxy', '192.168.0.50', 'fd00::50', 'fd00::51', '10.9.9.9');
    await until(() => expect(output).toContain('applied 6'));
    // Nobody asked yet: the announcements made these entries.
    await until(async () => expect(await neighbour('192.168.0.50')).toContain(NODE_MAC));
    await until(async () => expect(await neighbour('fd00::50')).toContain(NODE_MAC));
    await client.run(['ip', 'neigh', 'flush', 'dev', 'ext0']);
    for (const address of ['192.168.0.50', 'fd00::51']) {
      await ask(address);
      await until(async () => expect(await neighbour(address)).toContain(NODE_MAC));
    }
    await ask('192.168.0.60');
    await until(async () => expect(await neighbour('192.168.0.60')).toContain('FAILED'));
    // A second holder of a pod's address is told by duplicate address detection.
    await client.shell('sysctl -qw net.ipv6.conf.ext0.accept_dad=1; ip addr add fd00::50/64 dev ext0');
    await until(async () => expect(await client.run(['ip', 'addr', 'show', 'dev', 'ext0'])).toContain('dadfailed'));
  });

  test('answers again, with the new address, after the interface was down', async () => {
    start('proxy', '192.168.0.50');
    await until(() => expect(output).toContain('applied 6'));
    await node.shell('ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:02; ip link set eth0 up');
    await until(async () => {
      await client.run(['ip', 'neigh', 'flush', 'dev', 'ext0']);
      await ask('192.168.0.50');
      expect(await neighbour('192.168.0.50')).toContain('02:00:00:00:00:02');
    });
  });
});

describe('LiveMigrationMonitor over raw sockets', () => {
  test('takes a gratuitous ARP of the machine for the end of its migration', async () => {
    start('migration', 'eth0');
    await until(() => expect(output).toBe('target\n'));
    await client.shell('sysctl -qw net.ipv4.conf.ext0.arp_notify=1; ip link set ext0 address 02:00:00:00:00:98');
    await until(() => expect(output).toBe('target\nlive\n'));
  });
});
