// Network interfaces as the monitor reports them.

/** `up` means operationally up (IFF_RUNNING), not administratively. */
export type InterfaceState = 'up' | 'down' | 'absent';

/** A change of an interface's state. `ifindex` is 0 when absent. */
export interface InterfaceStateEvent {
  readonly name: string;
  readonly state: InterfaceState;
  readonly ifindex: number;
}

/** The addresses of an interface: bare addresses from the kernel's local table, or null when it is gone. */
export interface InterfaceAddressEvent {
  readonly name: string;
  readonly addresses: ReadonlySet<string> | null;
}
