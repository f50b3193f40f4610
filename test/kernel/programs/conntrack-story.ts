// Fills the connection-tracking table of its namespace, removes the flows of some addresses, and prints what is left as
// JSON. Arguments: command|netlink|netlink-many|netlink-old FLOWS
import { silentLogger } from '../../../src/base/logger.js';
import { ConntrackNetlink } from '../../../src/kernel/netlink/conntrack.js';
import { loadNativeLibrary, type NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import type { Operation } from '../../../src/model/operation.js';
import { CommandConntrackCleaner, type ConntrackCleaner } from '../../../src/routes/conntrack-cleaner.js';
import { NetlinkConntrackCleaner } from '../../../src/routes/netlink-conntrack.js';

const [kind, flowCount] = process.argv.slice(2);
const operations: Operation[] = [];
const observe = (operation: Operation): void => void operations.push(operation);

async function conntrack(...args: string[]): Promise<string> {
  const result = await directRunner.run({ argv: ['conntrack', ...args] });
  if (result.exitCode !== 0) throw new Error(`conntrack ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

/** Each flow: source, destination, who answers if not the destination (a translated address), and its zone. */
const FLOWS: readonly (readonly [source: string, target: string, answers?: string, zone?: string])[] = [
  ['10.65.0.2', '10.0.0.1'],
  ['10.0.0.1', '10.65.0.2'],
  ['10.0.0.1', '10.65.0.20'],
  ['10.0.0.1', '192.168.7.7', '10.65.0.2'],
  ['10.65.0.3', '10.0.0.1'],
  ['10.65.0.4', '10.65.0.5'],
  ['fd00::2', 'fd00:1::1'],
  ['fd00:1::1', 'fd00::2'],
  ['fd00:1::1', 'fd00::20'],
  ['10.65.0.2', '10.0.0.2', '10.0.0.2', '7'],
];

/** A kernel before 6.8, which does not know the attribute with the filter and passes over it. */
function withoutFilters(library: NativeLibrary): NativeLibrary {
  const filter = Buffer.from([12, 0, 25, 0x80]);
  const sendInThread: NativeLibrary['sendInThread'] = (fd, data, length, flags) => {
    for (let at = data.indexOf(filter); at >= 0; at = data.indexOf(filter, at + 1)) data[at + 2] = 200;
    return library.sendInThread(fd, data, length, flags);
  };
  return { ...library, sendInThread };
}

function createCleaner(): ConntrackCleaner {
  const tools = new CommandConntrackCleaner({ runner: directRunner, logger: silentLogger, observe });
  if (kind === 'command') return tools;
  const { library: loaded, reason } = loadNativeLibrary();
  if (loaded === null) throw new Error(reason);
  const library = kind === 'netlink-old' ? withoutFilters(loaded) : loaded;
  // What netlink cannot do must not be done by the tool here.
  const none: ConntrackCleaner = { clean: () => Promise.reject(new Error('netlink failed')) };
  return new NetlinkConntrackCleaner({
    flows: new ConntrackNetlink(library),
    tools: none,
    logger: silentLogger,
    observe,
  });
}

for (const [index, [source, target, answers = target, zone]] of FLOWS.entries()) {
  const ports = ['--sport', `${1000 + index}`, '--dport', '80'];
  const reply = ['--reply-src', answers, '--reply-dst', source, '--reply-port-src', '80'];
  await conntrack(
    ...['-I', ...(zone === undefined ? [] : ['-w', zone]), '-p', 'tcp', '-s', source, '-d', target, ...ports],
    ...[...reply, '--reply-port-dst', `${1000 + index}`, '--state', 'ESTABLISHED', '-t', '600', '-u', 'ASSURED'],
  );
}
// Many flows of one address: more than fit into one batch of deletions.
for (let flow = 0; flow < Number(flowCount); flow++) {
  await conntrack(
    ...['-I', '-p', 'udp', '-s', '10.65.0.9', '-d', '10.0.0.1', '--sport', `${2000 + flow}`, '--dport', '53'],
    ...['-t', '600'],
  );
}
const cleaner = createCleaner();
// Asked for at once, one of them twice, and one without flows; then again, when nothing is left.
await Promise.all([
  cleaner.clean(4, '10.65.0.2'),
  cleaner.clean(6, 'fd00::2'),
  cleaner.clean(4, '10.65.0.4'),
  cleaner.clean(4, '10.65.0.2'),
  cleaner.clean(4, '10.65.0.99'),
  cleaner.clean(4, '10.65.0.9'),
  ...(kind === 'netlink-many' ? [cleaner.clean(4, '10.65.0.99'), cleaner.clean(4, '10.65.0.98')] : []),
]);
await cleaner.clean(4, '10.65.0.2');
const left = await Promise.all([conntrack('-L', '-f', 'ipv4'), conntrack('-L', '-f', 'ipv6')]);
console.log(
  JSON.stringify({
    left: left.flatMap((text) => [...text.matchAll(/src=\S+ dst=\S+ sport=[12]\d{3}\b/g)].map(([flow]) => flow)).sort(),
    cleaned: [...new Set(operations.map(({ verb, object }) => `${verb} ${object}`))].sort(),
  }),
);
