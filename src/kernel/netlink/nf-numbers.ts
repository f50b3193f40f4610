// Numbers of nf_tables messages and attributes that more than one builder of transactions or reader needs
// (include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h).

/** NFNL_SUBSYS_NFTABLES, as the marks of a batch say it and as message types have it. */
export const SUBSYSTEM_NUMBER = 10;
export const SUBSYSTEM = SUBSYSTEM_NUMBER << 8;
/** NFNL_MSG_BATCH_BEGIN and END. */
export const BATCH_BEGIN = 0x10;
export const BATCH_END = 0x11;
/** enum nf_tables_msg_types. */
export const MESSAGE = {
  newTable: 0,
  deleteTable: 2,
  newChain: 3,
  deleteChain: 5,
  newRule: 6,
  deleteRule: 8,
  newSet: 9,
  deleteSet: 11,
  newElement: 12,
  deleteElement: 14,
  getGeneration: 16,
} as const;
/** Attributes of tables, chains, their hooks, and rules. */
export const TABLE = { name: 1, flags: 2 } as const;
export const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, uses: 6, type: 7 } as const;
export const HOOK = { number: 1, priority: 2 } as const;
export const RULE = { table: 1, chain: 2, expressions: 4, compat: 5, userData: 7 } as const;
/** nfgen_family by nft's names. */
export const FAMILY = { ip: 2, ip6: 10, arp: 3 } as const;
const IP_HOOKS: readonly string[] = ['prerouting', 'input', 'forward', 'output', 'postrouting'];
const ARP_HOOKS: readonly string[] = ['input', 'output'];
/** Hooks of a family, by their number. */
export const HOOKS: Readonly<Record<keyof typeof FAMILY, readonly string[]>> = {
  ip: IP_HOOKS,
  ip6: IP_HOOKS,
  arp: ARP_HOOKS,
};
