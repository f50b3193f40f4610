// Interface names in nft rules. Felix prints them bare, and so do we, for the hashes' sake; but a name that nft reads
// as something else (`bridge`, `1eth`) fails the whole transaction, so such names are quoted.

/** What nft's scanner takes as a plain string. */
const PLAIN = /^[A-Za-z_.][A-Za-z0-9_./-]*$/;

/** Words of nft's grammar that can't stand for an interface name; found by trying them with nft 1.0.6. */
const KEYWORDS: ReadonlySet<string> = new Set(
  (
    'accept add ah all and auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct day ' +
    'dccp define delete describe device devices drop dst dup dynamic element elements esp exists expires export ' +
    'exthdr fib flags flow flowtable flush frag fwd gc-interval get goto handle hbh hook hour ibriport ibrname icmp ' +
    'icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert interval ipsec jhash jump limit list ' +
    'log lshift lt map mark masquerade meta meter mh missing monitor ne netdev nftrace not notrack numgen obriport ' +
    'obrname offload oif oifgroup oifname oiftype or osf pkttype policy position priority queue quota random ' +
    'redefine redirect reject rename replace return rshift rt rt0 rt2 rtclassid rule ruleset sctp secmark set size ' +
    'skgid skuid socket srh symhash synproxy table tcp th time timeout tproxy type typeof udp udplite undefine ' +
    'update vmap xor xt'
  ).split(' '),
);

/** The name as it stands after `iifname` or `oifname`; with `wildcard` it is a prefix. */
export function interfaceText(name: string, wildcard: boolean): string {
  if (wildcard) return PLAIN.test(name) ? `${name}*` : `"${name}*"`;
  return PLAIN.test(name) && !KEYWORDS.has(name) ? name : `"${name}"`;
}
