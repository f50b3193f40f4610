// CPU time and memory of a process and everything that it started, from /proc.
import { readdirSync, readFileSync } from 'node:fs';

/** Linux reports CPU time in hundredths of a second. */
const TICKS_PER_SECOND = 100;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The process and all its living descendants. */
export function processTree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(statFields(Number(name))[1] ?? -1);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree = [pid];
  for (const member of tree) tree.push(...(children.get(member) ?? []));
  return tree;
}

/** Fields of /proc/PID/stat after the command name: state first. */
function statFields(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Seconds of CPU that the tree and everything that it waited for used. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const member of processTree(pid)) {
    const fields = statFields(member);
    for (const index of [11, 12, 13, 14]) ticks += Number(fields[index] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** How often threads of the tree went to sleep so far, which is how often they were woken up. */
export function wakeUps(pid: number): number {
  let count = 0;
  for (const member of processTree(pid)) {
    for (const thread of threadsOf(member)) {
      const status = read(`/proc/${member}/task/${thread}/status`);
      count += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    }
  }
  return count;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Memory in MiB: the process's own peak and present resident size, and the proportional size of its whole tree. */
export interface MemoryUse {
  readonly peak: number;
  readonly resident: number;
  readonly tree: number;
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0) / 1024;
}

export function memoryUse(pid: number): MemoryUse {
  const status = read(`/proc/${pid}/status`);
  const tree = processTree(pid).reduce((sum, member) => sum + field(read(`/proc/${member}/smaps_rollup`), 'Pss'), 0);
  return { peak: field(status, 'VmHWM'), resident: field(status, 'VmRSS'), tree };
}
