// The kernel's IP sets by netlink: the plane's restore lines are carried out without a process, runs of members of one
// set in one message.
import type { Clock } from '../base/clock.js';
import { errorMessage, NetlinkError, ToolError } from '../base/errors.js';
import { ownCopy } from '../base/own-copy.js';
import { SLICE_MS, TimeSlices } from '../base/time-slices.js';
import { type IpsetNetlink, type IpsetType } from '../kernel/netlink/ipset.js';
import type { IpSetIo } from './kernel-set.js';

interface SetShape {
  readonly type: IpsetType;
  readonly family: 4 | 6;
}

/** Consecutive lines that add to, or delete from, one set. */
interface MemberRun {
  readonly verb: 'add' | 'del';
  readonly name: string;
  readonly firstLine: number;
  readonly members: string[];
}

const TYPES: ReadonlySet<string> = new Set<IpsetType>(['hash:ip', 'hash:net', 'hash:ip,port']);

function isOwnType(type: string): type is IpsetType {
  return TYPES.has(type);
}

/** So many members go to the kernel at once, which takes a millisecond or two. */
const MEMBERS_PER_RUN = 1000;

/** {@link IpSetIo} over an open ipset socket. Long scripts hand the event loop back between slices. */
export function netlinkIpSetIo(ipset: IpsetNetlink, clock: Clock): IpSetIo {
  const shapes = new Map<string, SetShape>();
  const shapeOf = (name: string): SetShape => {
    const known = shapes.get(name);
    if (known !== undefined) return known;
    const listed = ipset.list(name);
    if (listed === null || !isOwnType(listed.type))
      throw new NetlinkError(`IP set ${name} does not exist or is of a foreign type`, 2, 'ENOENT');
    const shape = { type: listed.type, family: listed.family };
    shapes.set(ownCopy(name), shape);
    return shape;
  };
  return {
    listNames: () => attempt('list', () => ipset.listNames()),
    list: (name) =>
      attempt(`list ${name}`, () => {
        const listed = ipset.list(name);
        if (listed === null) {
          shapes.delete(name);
          return null;
        }
        if (isOwnType(listed.type)) shapes.set(name, { type: listed.type, family: listed.family });
        return {
          type: listed.type,
          family: listed.family,
          maxElem: listed.maxElements === 0 ? null : listed.maxElements,
          foreignOptions: listed.extensions,
          members: listed.members,
          digest: listed.digest,
        };
      }),
    digest: (name) => attempt(`list ${name}`, () => ipset.digest(name)),
    restore: async (script) => {
      try {
        await runScript(ipset, shapes, shapeOf, script, new TimeSlices(clock, SLICE_MS));
      } catch (error) {
        throw error instanceof ToolError ? error : toolError('restore', error);
      }
    },
  };
}

function attempt<T>(what: string, work: () => T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error instanceof ToolError ? error : toolError(what, error));
  }
}

/** Failures of the socket, not answers of the kernel: no set is to blame for them. */
const SOCKET_FAILURES: ReadonlySet<string> = new Set(['ENOBUFS', 'EINTR', 'EIO']);

function toolError(what: string, error: unknown, inputLine?: number): ToolError {
  const isSocket = error instanceof NetlinkError && SOCKET_FAILURES.has(error.code);
  const text = errorMessage(error);
  return new ToolError(
    `ipset by netlink: ${what}: ${text}`,
    {
      argv: ['netlink', 'ipset', what],
      exitCode: isSocket ? null : 1,
      signal: null,
      stderrHead: text,
      ...(inputLine === undefined ? {} : { inputLine }),
      durationMs: 0,
    },
    { cause: error },
  );
}

async function runScript(
  ipset: IpsetNetlink,
  shapes: Map<string, SetShape>,
  shapeOf: (name: string) => SetShape,
  script: string,
  slices: TimeSlices,
): Promise<void> {
  let run: MemberRun | null = null;
  const flush = (): void => {
    if (run !== null) runMembers(ipset, shapeOf, run);
    run = null;
  };
  let lineNumber = 0;
  for (const line of script.split('\n')) {
    lineNumber += 1;
    const [verb = '', name = '', argument = '', ...rest] = line.split(' ');
    if (verb === 'add' || verb === 'del') {
      if (run === null || run.verb !== verb || run.name !== name || run.members.length >= MEMBERS_PER_RUN) {
        flush();
        if (slices.isOver()) await slices.pause();
        run = { verb, name, firstLine: lineNumber, members: [] };
      }
      run.members.push(argument);
      continue;
    }
    flush();
    if (verb === '' || verb === 'COMMIT') continue;
    try {
      runLine(ipset, shapes, verb, name, argument, rest);
    } catch (error) {
      throw toolError(`line ${lineNumber} "${line}"`, error, lineNumber);
    }
  }
  flush();
}

function runLine(
  ipset: IpsetNetlink,
  shapes: Map<string, SetShape>,
  verb: string,
  name: string,
  argument: string,
  rest: readonly string[],
): void {
  switch (verb) {
    case 'create': {
      if (!isOwnType(argument))
        throw new NetlinkError(`Sets of type ${argument} are not made by netlink`, 22, 'EINVAL');
      const family = rest[rest.indexOf('family') + 1] === 'inet6' ? 6 : 4;
      createSet(ipset, name, argument, family, Number(rest[rest.indexOf('maxelem') + 1]));
      shapes.set(ownCopy(name), { type: argument, family });
      return;
    }
    case 'swap':
      ipset.swap(name, argument);
      return;
    case 'flush':
      ipset.flush(name);
      return;
    case 'destroy':
      ipset.destroy(name);
      shapes.delete(name);
      return;
    default:
      throw new NetlinkError(`Unknown restore command "${verb}"`, 22, 'EINVAL');
  }
}

/** As `-exist` does: a set of the same shape that is there already is fine. */
function createSet(ipset: IpsetNetlink, name: string, type: IpsetType, family: 4 | 6, maxElements: number): void {
  try {
    ipset.create(name, type, family, maxElements);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.code !== 'EEXIST') throw error;
    const listed = ipset.list(name);
    if (listed?.type !== type || listed.family !== family || listed.maxElements !== maxElements) throw error;
  }
}

/** Many in one message; if the kernel refuses, one by one to name the line. */
function runMembers(ipset: IpsetNetlink, shapeOf: (name: string) => SetShape, run: MemberRun): void {
  const change = (members: readonly string[]): void => {
    const shape = shapeOf(run.name);
    if (run.verb === 'add') ipset.add(run.name, shape.type, shape.family, members);
    else ipset.delete(run.name, shape.type, shape.family, members);
  };
  try {
    change(run.members);
  } catch {
    for (const [index, member] of run.members.entries()) {
      try {
        change([member]);
      } catch (error) {
        const line = run.firstLine + index;
        throw toolError(`line ${line} "${run.verb} ${run.name} ${member}"`, error, line);
      }
    }
  }
}
