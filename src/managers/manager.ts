// The contract of a manager: messages and interface events in, desired state out through the sinks it was built
// with. No I/O, no clock but the one it is handed; the same inputs in any legal order give the same desired state.
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';
import type { ToDataplane } from '../protocol/gen/felix/felixbackend_pb.js';

/** A decoded payload, `{ case: 'ipsetUpdate', value: … }`. */
export type DataplaneMessage = ToDataplane['payload'];

/** One manager. Called in registration order (section 2); every method must be cheap and must not throw for bad input. */
export interface Manager {
  readonly name: string;
  /** Every message of the stream; those of no concern are ignored. */
  onMessage(message: DataplaneMessage): void;
  onInterfaceState?(event: InterfaceStateEvent): void;
  onInterfaceAddresses?(event: InterfaceAddressEvent): void;
  /** First phase of an apply: settle what other managers will ask for. */
  resolveUpdateBatch?(): void;
  /** Second phase: hand the desired state to the sinks. Returns false to be called again soon (something is missing). */
  completeDeferredWork(): boolean;
  /**
   * The same in steps, for work that may be long: between two of them other things than managers may have their turn.
   * Called instead of `completeDeferredWork` where it is there.
   */
  deferredSteps?(): Generator<void, boolean>;
}
