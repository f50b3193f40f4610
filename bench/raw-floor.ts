// The floor under the driver's figures: the same ruleset and sets, and the same small changes, by the plain tools in a
// namespace of their own.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Mode } from '../test/fixtures/recording.js';
import type { Namespace } from '../test/kernel/support/namespace.js';
import { nowNs } from './probe-pair.js';

/** Milliseconds that the plain tools take, and the kernel alone. */
export interface RawFloor {
  readonly loadMs: number;
  readonly policyEditMs: number;
  /** Median of one rule by our own netlink (`netlink-floor.ts`); null where the kernel has no nf_tables batch for it. */
  readonly kernelEditMs: number | null;
  readonly setMemberMs: number;
}

/** What the kernel holds, as the tools print it. */
export interface KernelText {
  readonly rules: string;
  readonly rules6: string;
  readonly sets: string;
}

/** Reads rules and sets of a namespace. */
export async function readKernel(namespace: Namespace, mode: Mode): Promise<KernelText> {
  if (mode === 'nftables') {
    return { rules: await namespace.run(['nft', 'list', 'ruleset']), rules6: '', sets: '' };
  }
  const backend = mode === 'iptables-nft' ? 'nft' : 'legacy';
  return {
    rules: await namespace.run([`iptables-${backend}-save`]),
    rules6: await namespace.run([`ip6tables-${backend}-save`]),
    sets: await namespace.run(['ipset', 'save']),
  };
}

function timed(namespace: Namespace, argv: readonly string[], input: string): Promise<number> {
  const [program = '', ...args] = [...namespace.enter, ...argv];
  const startNs = nowNs();
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.once('exit', (code) => {
      if (code === 0) resolve((nowNs() - startNs) / 1e6);
      else reject(new Error(`${argv.join(' ')} ended with ${code}`));
    });
  });
}

async function kernelEdit(namespace: Namespace, table: string, chain: string): Promise<number> {
  const program = [process.execPath, ...process.execArgv, join(import.meta.dirname, 'netlink-floor.ts')];
  const answer = await namespace.run([...program, 'ip', table, chain]);
  return (JSON.parse(answer) as { readonly median: number }).median;
}

const REPEATS = 5;

async function fastest(work: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < REPEATS; index++) times.push(await work());
  return Math.min(...times);
}

/** Chain with the most rules whose name is a policy's. */
function policyChain(lines: readonly string[], pattern: RegExp): { name: string; rules: string[] } {
  const chains = new Map<string, string[]>();
  for (const line of lines) {
    const name = pattern.exec(line)?.[1];
    if (name !== undefined) chains.set(name, [...(chains.get(name) ?? []), line]);
  }
  const [best] = [...chains].sort(([, a], [, b]) => b.length - a.length);
  if (best === undefined) throw new Error('The kernel holds no policy chain');
  return { name: best[0], rules: best[1] };
}

/** Loads `kernel` into the empty namespace by the plain tools and times small changes there. */
export async function measureRawFloor(namespace: Namespace, mode: Mode, kernel: KernelText): Promise<RawFloor> {
  if (mode === 'nftables') return measureNft(namespace, kernel);
  const backend = mode === 'iptables-nft' ? 'nft' : 'legacy';
  const restore = [`iptables-${backend}-restore`, '--noflush'];
  let loadMs = await timed(namespace, ['ipset', 'restore'], kernel.sets);
  loadMs += await timed(namespace, restore, kernel.rules);
  loadMs += await timed(namespace, [`ip6tables-${backend}-restore`, '--noflush'], kernel.rules6);
  const chain = policyChain(kernel.rules.split('\n'), /^-A (cali-pi-\S+)/);
  const edit = `*filter\n:${chain.name} - -\n${chain.rules.join('\n')}\nCOMMIT\n`;
  const set = /^create (cali40\S+) hash:net/m.exec(kernel.sets)?.[1] ?? '';
  return {
    loadMs,
    policyEditMs: await fastest(() => timed(namespace, restore, edit)),
    kernelEditMs: backend === 'nft' ? await kernelEdit(namespace, 'filter', chain.name) : null,
    setMemberMs: await fastest(() => timed(namespace, ['ipset', 'restore', '-exist'], `add ${set} 10.98.0.1\n`)),
  };
}

async function measureNft(namespace: Namespace, kernel: KernelText): Promise<RawFloor> {
  const loadMs = await timed(namespace, ['nft', '-f', '-'], kernel.rules);
  const table = kernel.rules.slice(kernel.rules.indexOf('table ip calico'));
  const body = /chain (filter-cali-pi-\S+) \{\n([^}]*)\}/.exec(table);
  const set = /set (\S+) \{\n\s*type ipv4_addr\n\s*flags interval/.exec(table)?.[1] ?? '';
  if (body === null || set === '') throw new Error('The kernel holds no policy chain or no set');
  const [, name = '', rules = ''] = body;
  const lines = rules
    .split('\n')
    .flatMap((line) => (line.trim() === '' ? [] : [`add rule ip calico ${name} ${line.trim()}`]));
  const edit = `flush chain ip calico ${name}\n${lines.join('\n')}\n`;
  let member = 0;
  return {
    loadMs,
    policyEditMs: await fastest(() => timed(namespace, ['nft', '-f', '-'], edit)),
    kernelEditMs: await kernelEdit(namespace, 'calico', name),
    setMemberMs: await fastest(() => {
      member += 2;
      return timed(namespace, ['nft', '-f', '-'], `add element ip calico ${set} { 10.98.0.${member} }\n`);
    }),
  };
}
