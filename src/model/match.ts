// What a rule can match, as values. Order in a rule matters: printers keep it, and it is part of the hash
// (dataplane.md 3.13).

/** An inclusive port range; one port has `first === last`. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** One match of a rule. Interface names end in `+` only when `wildcard` matches are meant (`cali+`). */
export type Match =
  | { readonly kind: 'mark-clear'; readonly mask: number }
  | { readonly kind: 'mark-not-clear'; readonly mask: number }
  | { readonly kind: 'mark-value'; readonly value: number; readonly mask: number; readonly negated?: boolean }
  | { readonly kind: 'protocol'; readonly protocol: string | number; readonly negated?: boolean }
  /** `prefix` is the name without the wildcard character; `wildcard` appends `+` (iptables) or `*` (nft). */
  | { readonly kind: 'in-interface' | 'out-interface'; readonly name: string; readonly wildcard?: boolean }
  /** An address or CIDR, printed as given. */
  | { readonly kind: 'source-net' | 'dest-net'; readonly net: string; readonly negated?: boolean }
  /** `set` is the name in the kernel, `cali40…`. */
  | { readonly kind: 'source-set' | 'dest-set'; readonly set: string; readonly negated?: boolean }
  | { readonly kind: 'source-port-set' | 'dest-port-set'; readonly set: string; readonly negated?: boolean }
  /** Multiport form, also for one port. `protocol` is what nft prints before `sport`/`dport`. */
  | {
      readonly kind: 'source-ports' | 'dest-ports';
      readonly protocol: string | number;
      readonly ports: readonly PortRange[];
      readonly negated?: boolean;
    }
  /** Single-port form, `--dport P`; used by the VXLAN NOTRACK rules only. */
  | { readonly kind: 'dest-port'; readonly protocol: string; readonly port: number }
  /** States in the order they are printed, e.g. `RELATED`, `ESTABLISHED`. */
  | { readonly kind: 'conntrack-state'; readonly states: readonly string[]; readonly negated?: boolean }
  | { readonly kind: 'conntrack-dnat'; readonly negated?: boolean }
  | {
      readonly kind: 'source-address-type';
      readonly type: 'LOCAL';
      readonly limitInterfaceOut?: boolean;
      readonly negated?: boolean;
    }
  | { readonly kind: 'dest-address-type'; readonly type: 'LOCAL' }
  | { readonly kind: 'icmp-type'; readonly type: number; readonly negated?: boolean }
  | { readonly kind: 'icmp-type-code'; readonly type: number; readonly code: number; readonly negated?: boolean }
  /** `rate` as configured (`10/minute`); `burst` 0 is not printed. */
  | { readonly kind: 'limit'; readonly rate: string; readonly burst: number }
  | { readonly kind: 'rpf-failed' }
  /** nft only: look the interface up in a verdict map of the same layer. */
  | { readonly kind: 'in-interface-map' | 'out-interface-map'; readonly map: string }
  /** nft ARP table only. */
  | { readonly kind: 'arp-reply-from'; readonly address: string };
