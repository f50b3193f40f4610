// Plays one fixed story through an IpSetIo and a plane over it, in the namespace it is started in, and prints what it
// saw as JSON. Arguments: command|netlink
import { silentLogger } from '../../../src/base/logger.js';
import { ToolError } from '../../../src/base/errors.js';
import { commandIpSetIo } from '../../../src/ipsets/command-io.js';
import { IpSetPlane } from '../../../src/ipsets/ip-set-plane.js';
import type { IpSetIo } from '../../../src/ipsets/kernel-set.js';
import { netlinkIpSetIo } from '../../../src/ipsets/netlink-io.js';
import { IpsetNetlink } from '../../../src/kernel/netlink/ipset.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import type { IpSetType } from '../../../src/model/ip-set.js';
import type { Operation } from '../../../src/model/operation.js';

const MAX_SIZE = 1_048_576;

function createIo(kind: string | undefined): IpSetIo {
  if (kind === 'command') return commandIpSetIo(directRunner);
  const { library, reason } = loadNativeLibrary();
  if (library === null) throw new Error(reason);
  return netlinkIpSetIo(new IpsetNetlink(library), systemClock);
}

const kernel = createIo(process.argv[2]);
let listings = 0;
const io: IpSetIo = {
  ...kernel,
  list: (name) => {
    listings += 1;
    return kernel.list(name);
  },
};
const seen: Record<string, unknown> = {};

async function shell(script: string): Promise<string> {
  const result = await directRunner.run({ argv: ['sh', '-e'], stdin: script });
  if (result.exitCode !== 0) throw new Error(`${script}: ${result.stderr}`);
  return result.stdout;
}

/** Sorted `ipset save` without the kernel's own figures. */
async function saved(): Promise<string[]> {
  return (await shell('ipset save'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/ (hashsize|bucketsize|initval) \S+/g, ''))
    .sort();
}

async function attempt(script: string): Promise<unknown> {
  try {
    await io.restore(script);
    return 'done';
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return { exitCode: error.failure.exitCode, inputLine: error.failure.inputLine };
  }
}

async function listed(name: string): Promise<unknown> {
  const set = await io.list(name);
  if (set === null) return null;
  const { digest: _, ...rest } = set;
  return { ...rest, foreignOptions: [...set.foreignOptions].sort(), members: [...set.members].sort() };
}

async function playIo(): Promise<void> {
  const scripts: Readonly<Record<string, string>> = {
    create: 'create a hash:net family inet maxelem 4\nflush a\nadd a 10.0.0.0/8\nadd a 10.0.0.1\nadd a 10.0.0.1\n',
    createAgain: 'create a hash:net family inet maxelem 4\n',
    flushFilled: 'create a hash:net family inet maxelem 4\nflush a\nadd a 10.0.0.7\n',
    createOther: 'create a hash:net family inet maxelem 5\n',
    deleteMissing: 'del a 9.9.9.9\ndel a 10.0.0.7\n',
    full: 'add a 1.0.0.1\nadd a 1.0.0.2\nadd a 1.0.0.3\nadd a 1.0.0.4\nadd a 1.0.0.5\n',
    missingSet: 'add nope 10.0.0.1\n',
    v6: 'create b hash:ip family inet6 maxelem 9\nadd b fd00::1\nadd b ::1\nadd b ::ffff:1.2.3.4\n',
    ports:
      'create c hash:ip,port family inet maxelem 9\nadd c 10.0.0.1,tcp:80\nadd c 10.0.0.1,udp:53\nadd c 10.0.0.1,sctp:9\n',
    ports6: 'create d hash:ip,port family inet6 maxelem 9\nadd d fd00::1,tcp:65535\nadd d fd00::1,udp:0\n',
    nets6: 'create e hash:net family inet6 maxelem 9\nadd e fd00::/64\nadd e ::/1\nadd e fd00::1\n',
    swap: 'create t hash:net family inet maxelem 99\nflush t\nadd t 10.5.0.0/16\nswap t a\n',
    swapTypes: 'swap b a\n',
    swapMissing: 'swap t zzz\n',
    destroy: 'destroy t\n',
    destroyMissing: 'destroy t\n',
  };
  for (const [name, script] of Object.entries(scripts)) seen[name] = await attempt(script);
  await shell(`
    ipset create x hash:net timeout 60 comment counters skbinfo
    ipset create y hash:net
    ipset add y 10.0.0.0/24 nomatch
    ipset add y 10.0.1.0/24
    ipset create z bitmap:port range 0-10
    iptables-legacy -A FORWARD -m set --match-set y src -j ACCEPT
  `);
  seen['destroyInUse'] = await attempt('destroy y\n');
  seen['names'] = [...(await io.listNames())].sort();
  for (const name of ['a', 'b', 'c', 'd', 'e', 'x', 'y', 'none']) seen[`list ${name}`] = await listed(name);
  seen['list z type'] = (await io.list('z'))?.type;
  seen['saved'] = await saved();
}

/** A plane that adopts, corrects and rebuilds; then its restart, which must find nothing to do. */
async function playPlane(): Promise<void> {
  await shell(`
    ipset create cali40s:small hash:net maxelem 5
    ipset add cali40s:small 10.0.0.9
    ipset create cali40s:nomatch hash:net maxelem ${MAX_SIZE}
    ipset add cali40s:nomatch 10.0.0.0/24 nomatch
    ipset create cali40s:timeout hash:net maxelem ${MAX_SIZE} timeout 99
    ipset create cali40s:type hash:ip maxelem ${MAX_SIZE}
    ipset create cali40s:inuse hash:ip maxelem ${MAX_SIZE}
    ipset create cali40s:fine hash:net maxelem ${MAX_SIZE}
    ipset add cali40s:fine 10.0.0.1
    ipset add cali40s:fine 10.0.0.2
    ipset create cali40s:old hash:net
    ipset create cali4t0 hash:net maxelem ${MAX_SIZE}
    ipset add cali4t0 6.6.6.6
  `);
  for (const set of ['small', 'nomatch', 'timeout', 'inuse', 'fine']) {
    await shell(`iptables-legacy -A FORWARD -m set --match-set cali40s:${set} src -j ACCEPT`);
  }
  const operations: Operation[] = [];
  const start = (): IpSetPlane => {
    operations.length = 0;
    const plane = new IpSetPlane({
      family: 4,
      maxDeletionsPerApply: 1,
      io,
      clock: systemClock,
      log: silentLogger,
      onOperation: (operation) => operations.push(operation),
    });
    const set = (id: string, members: readonly string[], type: IpSetType = 'hash:net'): void => {
      plane.setSet({ id, type, maxSize: MAX_SIZE }, members);
    };
    for (const id of ['s:small', 's:nomatch', 's:timeout', 's:type']) set(id, ['10.0.0.0/24', '10.0.0.1/32']);
    set('s:inuse', ['10.0.0.1']);
    set('s:fine', ['10.0.0.2', '10.0.0.3']);
    set('n:ports', ['10.0.0.1,tcp:80', '10.0.0.1,SCTP:1'], 'hash:ip,port');
    const many = Array.from({ length: 25_000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`);
    set('s:many', many);
    return plane;
  };
  const rest = async (plane: IpSetPlane): Promise<unknown> => {
    for (let count = 0; count < 20; count++) {
      const { refused } = await plane.apply();
      if ((await plane.applyDeletions()).rescheduleAfterMs === undefined && count > 3) {
        return refused.map((refusal) => refusal.object);
      }
    }
    throw new Error('The plane does not come to rest');
  };
  const first = start();
  seen['plane refused'] = await rest(first);
  seen['plane operations'] = operations.map(({ verb, object, count }) => [verb, object, count ?? 0]).sort();
  first.addMembers('s:fine', ['10.0.0.4']);
  first.removeMembers('s:fine', ['10.0.0.2']);
  operations.length = 0;
  await first.apply();
  seen['plane delta'] = [...operations];
  seen['plane saved'] = await saved();
  await shell('ipset add cali40s:fine 10.0.0.2; ipset del cali40s:fine 10.0.0.4; iptables-legacy -F FORWARD');
  const second = start();
  seen['restart refused'] = await rest(second);
  seen['restart operations'] = operations.map(({ verb, object }) => [verb, object]).sort();
  const third = start();
  await rest(third);
  seen['third start'] = [...operations];
  /** What a refresh repairs, and how many sets it lists. */
  const refresh = async (): Promise<{ repaired: string[]; listed: number }> => {
    operations.length = 0;
    listings = 0;
    third.queueResync();
    await rest(third);
    return { repaired: operations.map(({ verb, object }) => `${verb} ${object}`), listed: listings };
  };
  const unchanged = await refresh();
  await shell('ipset del cali40s:fine 10.0.0.3; ipset add cali40s:fine 10.0.0.9');
  const exchanged = await refresh();
  await refresh();
  third.addMembers('s:fine', ['10.0.0.5']);
  await rest(third);
  await shell('ipset del cali40s:fine 10.0.0.5');
  const takenBack = await refresh();
  seen['repaired'] = [unchanged.repaired, exchanged.repaired, takenBack.repaired];
  seen['refreshed saved'] = await saved();
  seen['listed'] = [unchanged.listed, exchanged.listed, takenBack.listed];
}

await playIo();
await shell('iptables-legacy -F FORWARD; ipset destroy');
await playPlane();
// Ends only when all is written: a pipe takes it in pieces.
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
