// Reads a script from standard input, runs it in its namespace once by nft and once by our own netlink batch, and
// prints what the kernel then holds, byte by byte, as JSON. Statements that are not compiled are named.
import { readFileSync } from 'node:fs';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { NfTablesNetlink } from '../../../src/kernel/netlink/nf-tables.js';
import { NETLINK, NetlinkSocket } from '../../../src/kernel/netlink/socket.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { CommandNftIo } from '../../../src/tables/nftables/command-io.js';
import { compileScript } from '../../../src/tables/nftables/script-compiler.js';
import { statementsOf } from '../../fakes/nft-statements.js';
import { dumpRuleset } from './ruleset-dump.js';

const { library } = loadNativeLibrary();
if (library === null) throw new Error('no native library');
const socket = new NetlinkSocket(library, NETLINK.netfilter);

/** Message → attributes that say what an object is; handles, ids and use counts differ from load to load. */
const OBJECTS = [
  { get: 1, keep: [1, 2] },
  { get: 4, keep: [1, 3, 4, 5, 7] },
  { get: 7, keep: [1, 2, 4, 7] },
  { get: 10, keep: [1, 2, 3, 4, 5, 6, 7, 9, 13] },
];

const dump = (): string[] => dumpRuleset(socket, OBJECTS, [2, 3, 10]);

const script = readFileSync(0, 'utf8');
const statements = statementsOf(script);
const [, , family = '', table = ''] = script.split(/\s+/u);
const tool = new CommandNftIo({ runner: directRunner });
const listing = async (): Promise<string> =>
  (await directRunner.run({ argv: ['nft', 'list', 'table', family, table] })).stdout;

await tool.transaction(statements);
const byTool = { dump: dump(), text: await listing() };
await tool.transaction([`delete table ${family} ${table}`]);
const rules = script.split('\n').filter((line) => line.startsWith('add rule'));
const left = rules.filter((line) => compileScript(statementsOf(line), new Map()) === null);
const batch = compileScript(statements, new Map());
if (batch !== null) await new NfTablesNetlink(library).commit(batch);
const isCommitted = batch !== null;
const own = { dump: dump(), text: await listing() };
socket.close();
console.log(JSON.stringify({ byTool, own, left, isCommitted }));
