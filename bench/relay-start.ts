// How long Felix waits for the relay: from its start to the first frame at the service, beside a Node that does nothing.
// Usage: npx tsx bench/relay-start.ts [ROUNDS]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';

const RELAY = join(import.meta.dirname, '../bin/felix-dataplane-relay');
const rounds = Number(process.argv[2] ?? 20);
const folder = mkdtempSync(join(tmpdir(), 'fdp-relay-'));
const path = join(folder, 'service.sock');
let onBytes: () => void = () => undefined;
const server = createServer((socket: Socket) => {
  socket.on('error', () => undefined);
  socket.once('data', () => onBytes());
});

async function relayMs(): Promise<number> {
  const arrived = new Promise<void>((resolve) => {
    onBytes = resolve;
  });
  const began = performance.now();
  const child = spawn(RELAY, [], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], DATAPLANE_SERVICE: `unix:${path}` },
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  (child.stdio[3] as Writable).write('frame');
  await arrived;
  const took = performance.now() - began;
  child.kill('SIGKILL');
  await exited;
  return took;
}

async function nodeMs(): Promise<number> {
  const empty = join(folder, 'empty.cjs');
  writeFileSync(empty, '');
  const began = performance.now();
  const child = spawn(process.execPath, [empty], { stdio: 'ignore', env: {} });
  await new Promise((resolve) => child.once('exit', resolve));
  return performance.now() - began;
}

function told(name: string, taken: readonly number[]): void {
  const sorted = [...taken].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(0);
  console.log(`${name}: median ${at(0.5)} ms, least ${at(0)}, most ${at(1)} (${sorted.length} starts)`);
}

await new Promise<void>((resolve) => server.listen(path, resolve));
const relays: number[] = [];
const nodes: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  relays.push(await relayMs());
  nodes.push(await nodeMs());
}
told('relay, start to first frame at the service', relays);
told('node with an empty file, start to end', nodes);
server.close();
rmSync(folder, { recursive: true, force: true });
