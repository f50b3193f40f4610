// What in a table that we share with others is ours: chains by prefix, rules by hash comment, and rules that releases
// without hash comments left behind (dataplane.md 4.4).

/** Every prefix that Calico's chains ever had (Felix rulesdefs.AllHistoricChainNamePrefixes). */
export const CHAIN_PREFIXES: readonly string[] = [
  'cali-',
  'califw-',
  'calitw-',
  'califh-',
  'calith-',
  'calipi-',
  'calipo-',
  'felix-',
];

/** Begins the comments of our rules. The hash follows; in nftables up to a semicolon. */
export const HASH_COMMENT_PREFIX = 'cali:';

const OUR_CHAIN = new RegExp(`^(?:${CHAIN_PREFIXES.join('|')})`);
const OLD_JUMP = new RegExp(`(?:-j|--jump) (?:${CHAIN_PREFIXES.join('|')})`);

// Rules that old releases put straight into POSTROUTING, as iptables-save prints them (Felix
// HistoricInsertedNATRuleRegex).
const OLD_NAT_RULES = [
  /-A POSTROUTING .* felix-masq-ipam-pools .*/,
  /-A POSTROUTING -o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE/,
];

/** Whether a chain of this name belongs to Calico, whatever is in it. */
export function isOurChain(name: string): boolean {
  return OUR_CHAIN.test(name);
}

/** Whether a saved rule without hash comment was inserted by an old release; `nat` has patterns of its own. */
export function isOldRule(line: string, isNat: boolean): boolean {
  return OLD_JUMP.test(line) || (isNat && OLD_NAT_RULES.some((pattern) => pattern.test(line)));
}
