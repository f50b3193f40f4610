// Address families, as iptables and the kernel count them.

/** IPv4 or IPv6. */
export type Family = 4 | 6;

/** Both families, in the order in which Felix registers its managers. */
export const FAMILIES: readonly Family[] = [4, 6];

/** Which program text rules are printed for. */
export type Backend = 'iptables' | 'nftables';

/** The kernel's rule tables; in nftables they are layers of one table, `filter-…`. */
export type TableName = 'raw' | 'mangle' | 'nat' | 'filter';

/** All of them, in the order in which a packet can meet them. */
export const TABLE_NAMES: readonly TableName[] = ['raw', 'mangle', 'nat', 'filter'];
