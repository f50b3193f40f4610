// Dumps a namespace in the form of the recordings (shared/README.md): sorted, no counters, one text per kind.
import type { Mode } from '../../fixtures/recording.js';
import type { Namespace } from './namespace.js';

/** File name without `.txt` → text; empty files are left out. */
export type KernelDump = Record<string, string>;

const SYSCTLS_V4 = ['rp_filter', 'route_localnet', 'proxy_arp', 'forwarding', 'send_redirects'];
const SYSCTLS_V6 = ['proxy_ndp', 'forwarding', 'accept_ra', 'disable_ipv6'];
const SYSCTL_FILES = [
  ...SYSCTLS_V4.map((key) => `ipv4/conf/*/${key}`),
  ...SYSCTLS_V6.map((key) => `ipv6/conf/*/${key}`),
  'ipv4/ip_forward',
];
/** Interfaces whose sysctls are dumped: workloads and tunnels, not the far ends of veths. */
const SYSCTL_INTERFACES = /^(cali|tunl0|vxlan|wireguard)/;

const MARK = '@@@';

/** Tables of iptables-nft, which its own tool prints. */
const IPTABLES_NFT_TABLE = '^table ip6? (filter|nat|mangle|raw|security)';

/** Where iptables-nft's tables may be large, only the others are listed, each by a start of its own. */
const LIST_OTHER_NFT_TABLES = `nft list tables | grep -Ev '${IPTABLES_NFT_TABLE}$' |
while read -r table; do nft -s list $table; done`;

/** What one start of `ip` shows of a family; the lines tell by themselves what they are. */
const LIST_BY_IP = "printf 'route show table all\\nrule show\\nneigh show proxy\\n'";
const RULE = /^\d+:\s/;
const PROXY_NEIGHBOUR = /\bproxy\s*$/;

function section(name: string, command: string): string {
  return `echo '${MARK}${name}'; ${command}\n`;
}

function script(mode: Mode): string {
  const backend = mode === 'iptables-legacy' ? 'legacy' : 'nft';
  const iptables =
    mode === 'nftables'
      ? ''
      : section('iptables', `iptables-${backend}-save`) + section('ip6tables', `ip6tables-${backend}-save`);
  return [
    iptables,
    section('ipset', 'ipset save'),
    section('nft', mode === 'nftables' ? 'nft -s list ruleset' : LIST_OTHER_NFT_TABLES),
    section('ip4', `${LIST_BY_IP} | ip -4 -batch -`),
    section('ip6', `${LIST_BY_IP} | ip -6 -batch -`),
    section('permanent', 'ip neigh show nud permanent'),
    section('fdb', 'bridge fdb show'),
    section('qdisc', 'tc qdisc show'),
    section('links', 'ip -j -d addr show'),
    section('sysctl', `cd /proc/sys/net; grep -s '' ${SYSCTL_FILES.join(' ')} | tr ':' ' '`),
    'true\n',
  ].join('');
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

function joined(rows: readonly string[]): string {
  return rows.length === 0 ? '' : `${rows.join('\n')}\n`;
}

/** Link-local addresses of random MACs (the ifb device) differ from run to run; those of fixed MACs are kept. */
function isRandomAddress(member: string): boolean {
  return /\bfe80::/.test(member) && !/\bfe80::(6400:)?ff:fe00:/.test(member);
}

/** Bytewise order, as Python's sorted() gives for ASCII. */
function sorted(rows: readonly string[]): string[] {
  return [...rows].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Tables and chains sorted by name, rules in order, no counters. */
function normaliseSave(text: string): string {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  for (const line of lines(text)) {
    if (line.startsWith('*')) {
      chains = new Map();
      tables.set(line, chains);
    } else if (line.startsWith(':')) {
      const [name = '', policy = ''] = line.slice(1).split(' ');
      chains.set(name, [`:${name} ${policy}`]);
    } else if (line.startsWith('-A ')) {
      chains.get(line.split(' ')[1] ?? '')?.push(line);
    }
  }
  const out: string[] = [];
  for (const table of sorted([...tables.keys()])) {
    out.push(table);
    const own = tables.get(table) ?? new Map<string, string[]>();
    for (const chain of sorted([...own.keys()])) out.push(...(own.get(chain) ?? []));
    out.push('COMMIT');
  }
  return joined(out);
}

/** Sets and members sorted, without hashsize, bucketsize and initval. */
function normaliseIpset(text: string): string {
  const sets = new Map<string, string[]>();
  for (const line of lines(text)) {
    const name = line.split(' ')[1] ?? '';
    const row = line.replace(/ (hashsize|bucketsize|initval) \S+/g, '').trimEnd();
    if (line.startsWith('create')) sets.set(name, [row]);
    else if (!isRandomAddress(row)) sets.get(name)?.push(row);
  }
  return joined(
    sorted([...sets.keys()]).flatMap((name) => {
      const [create = '', ...members] = sets.get(name) ?? [];
      return [create, ...sorted(members)];
    }),
  );
}

/** Tables, blocks and elements sorted; one element a line. */
function normaliseNft(text: string): string {
  const tables: { header: string; blocks: string[][] }[] = [];
  let block: string[] | null = null;
  let elements: string | null = null;
  for (const line of text.split('\n')) {
    if (line.startsWith('table ')) tables.push({ header: line, blocks: [] });
    else if (/^\t(chain|map|set|flowtable) /.test(line)) block = [line];
    else if (block !== null && elements === null && line.startsWith('\t\telements = {'))
      elements = line.slice('\t\telements = {'.length);
    else if (block !== null && elements !== null) elements += line;
    else if (line === '\t}' && block !== null) {
      block.push(line);
      tables.at(-1)?.blocks.push(block);
      block = null;
    } else if (block !== null && line !== '') block.push(line);
    if (elements !== null && block !== null && elements.trimEnd().endsWith('}')) {
      const members = elements
        .trimEnd()
        .slice(0, -1)
        .split(',')
        .map((member) => member.trim())
        .filter((member) => member !== '' && !isRandomAddress(member));
      block.push('\t\telements = {', ...sorted(members).map((member) => `\t\t\t${member}`), '\t\t}');
      elements = null;
    }
  }
  const foreign = new RegExp(`${IPTABLES_NFT_TABLE} `);
  const own = tables.filter(({ header }) => !foreign.test(header));
  own.sort((a, b) => (a.header < b.header ? -1 : 1));
  return joined(
    own.flatMap((table) => [
      table.header,
      ...[...table.blocks].sort((a, b) => ((a[0] ?? '') < (b[0] ?? '') ? -1 : 1)).flat(),
      '}',
    ]),
  );
}

interface RawLink {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: Record<string, unknown> };
  readonly addr_info: readonly { readonly local?: string; readonly prefixlen: number; readonly scope: string }[];
}

const LINK_DATA = ['id', 'learning', 'local', 'local6', 'port', 'ttl', 'udp_csum'];

/** Python's json.dumps form: `", "` and `": "` as separators, keys as given. */
function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{${Object.entries(value)
      .map(([key, item]) => `${JSON.stringify(key)}: ${pythonJson(item)}`)
      .join(', ')}}`;
  }
  return JSON.stringify(value);
}

function normaliseLinks(text: string): string {
  const rows = (JSON.parse(text) as RawLink[]).map((link) => {
    const kind = link.linkinfo?.info_kind ?? null;
    const raw = kind === 'vxlan' ? (link.linkinfo?.info_data ?? {}) : {};
    const data = Object.fromEntries(LINK_DATA.filter((key) => key in raw).map((key) => [key, raw[key]]));
    return pythonJson({
      addrs: sorted(
        link.addr_info
          .filter((a) => a.local !== undefined && a.scope !== 'link')
          .map((a) => `${a.local}/${a.prefixlen}`),
      ),
      data,
      flags: sorted(link.flags.filter((flag) => flag === 'UP' || flag === 'NOARP')),
      kind,
      mtu: link.mtu,
      name: link.ifname,
    });
  });
  return joined(sorted(rows));
}

function normaliseSysctl(text: string): string {
  const values = new Map(
    lines(text).map((line) => {
      const space = line.indexOf(' ');
      return [line.slice(0, space), line.slice(space + 1)] as const;
    }),
  );
  const interfaces = sorted(
    [...new Set([...values.keys()].map((key) => /^ipv4\/conf\/([^/]+)\//.exec(key)?.[1] ?? ''))].filter((name) =>
      SYSCTL_INTERFACES.test(name),
    ),
  );
  const out: string[] = [];
  for (const [family, keys] of [
    ['ipv4', SYSCTLS_V4],
    ['ipv6', SYSCTLS_V6],
  ] as const) {
    for (const name of interfaces) {
      for (const key of keys) {
        const value = values.get(`${family}/conf/${name}/${key}`);
        if (value !== undefined) out.push(`net.${family}.conf.${name}.${key} = ${value}`);
      }
    }
  }
  out.push(`net.ipv4.ip_forward = ${values.get('ipv4/ip_forward') ?? '?'}`);
  return joined(out);
}

function normaliseRoutes(text: string): string {
  return joined(
    sorted(
      lines(text)
        .map((line) => line.trimEnd())
        .filter(
          (line) =>
            !/^(local|broadcast|multicast|anycast) /.test(line) &&
            !RULE.test(line) &&
            !PROXY_NEIGHBOUR.test(line) &&
            !line.startsWith('fe80::') &&
            !line.startsWith('ff00::'),
        ),
    ),
  );
}

/** Reads everything in one process start and brings it into the recordings' form. */
export async function dumpKernel(namespace: Namespace, mode: Mode): Promise<KernelDump> {
  const output = await namespace.run(['sh'], { input: script(mode) });
  const parts = new Map<string, string>();
  for (const part of output.split(MARK).slice(1)) {
    const end = part.indexOf('\n');
    parts.set(part.slice(0, end), part.slice(end + 1));
  }
  const text = (name: string): string => parts.get(name) ?? '';
  const byFamily = lines(text('ip4') + text('ip6'));
  const dump: KernelDump = {
    ipset: normaliseIpset(text('ipset')),
    nft: normaliseNft(text('nft')),
    route4: normaliseRoutes(text('ip4')),
    route6: normaliseRoutes(text('ip6')),
    rule: joined(
      byFamily.filter((line) => RULE.test(line)).sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)),
    ),
    neigh: joined(
      sorted(
        [...lines(text('permanent')), ...byFamily.filter((line) => PROXY_NEIGHBOUR.test(line))].map((line) =>
          line.trimEnd(),
        ),
      ),
    ),
    fdb: joined(
      sorted(
        lines(text('fdb'))
          .map((line) => line.trimEnd())
          .filter((line) => / dst /.test(line)),
      ),
    ),
    qdisc: joined(
      sorted(
        lines(text('qdisc'))
          .map((line) => line.trimEnd())
          .filter((line) => !/ (noqueue|pfifo_fast|fq_codel) /.test(line)),
      ),
    ),
    links: normaliseLinks(text('links')),
    sysctl: normaliseSysctl(text('sysctl')),
  };
  if (mode !== 'nftables') {
    dump[mode] = normaliseSave(text('iptables'));
    dump[mode.replace('iptables', 'ip6tables')] = normaliseSave(text('ip6tables'));
  }
  return Object.fromEntries(Object.entries(dump).filter(([, value]) => value !== ''));
}
