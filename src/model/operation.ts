// Every write to the host is announced as an operation: dry run, cost tests, `status` and logs read the same list.

/** One thing written to the kernel. `object` names it (`filter/4 cali-INPUT`, `cali40this-host`, `10.65.0.2/32 dev cali1`). */
export interface Operation {
  readonly room: 'tables' | 'ipsets' | 'routes' | 'interfaces' | 'conntrack';
  /** e.g. `write-chain`, `delete-chain`, `write-hook`, `create-set`, `add-members`, `replace-route`, `write-sysctl`. */
  readonly verb: string;
  readonly object: string;
  /** Members, rules or bytes touched, where it makes sense. */
  readonly count?: number;
}

/** Receives operations after they were carried out. Must not throw. */
export type OperationObserver = (operation: Operation) => void;
