// What the daemon and its broker process say to each other over the IPC channel.
import type { Command, CommandResult } from './command.js';
import type { CoprocessTool } from './coprocess-driver.js';

/** Daemon to broker. `id` pairs a request with its answer. */
export type BrokerRequest =
  | { readonly kind: 'run'; readonly id: number; readonly command: Command }
  | { readonly kind: 'transaction'; readonly id: number; readonly tool: CoprocessTool; readonly command: Command };

/** Broker to daemon. */
export interface BrokerAnswer {
  readonly kind: 'result';
  readonly id: number;
  readonly result: CommandResult;
}
