// What a rule can do, as values (dataplane.md 3.13).

/** The action of a rule. Chain names are without any nft layer prefix. */
export type Action =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'notrack' }
  | { readonly kind: 'reject'; readonly with?: 'tcp-reset' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'set-mark' | 'clear-mark'; readonly mask: number }
  | { readonly kind: 'set-masked-mark'; readonly value: number; readonly mask: number }
  /** `prefix` is complete but for the trailing `: `, which the printer adds. */
  | { readonly kind: 'log'; readonly prefix: string }
  | { readonly kind: 'nflog'; readonly group: number; readonly prefix: string }
  | { readonly kind: 'dnat'; readonly address: string; readonly port?: number }
  | { readonly kind: 'snat'; readonly address: string; readonly ports?: string }
  /** `ports` as `lo-hi`. */
  | { readonly kind: 'masquerade'; readonly ports?: string }
  | { readonly kind: 'dscp'; readonly value: number }
  /** Within-rate marking in iptables, over-rate drop in nft; `mark` is the Scratch0 bit. */
  | { readonly kind: 'limit-packet-rate'; readonly perSecond: number; readonly burst: number; readonly mark: number }
  | { readonly kind: 'limit-connections'; readonly max: number }
  | { readonly kind: 'flow-offload'; readonly flowtable: string };
