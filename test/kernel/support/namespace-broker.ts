// A broker whose commands and co-processes run in a namespace.
import type { Broker } from '../../../src/kernel/broker.js';
import type { Command } from '../../../src/kernel/command.js';
import type { CoprocessTool } from '../../../src/kernel/coprocess-driver.js';
import { startTestBroker } from '../../fakes/broker.js';
import type { Namespace } from './namespace.js';

/** What the broker was asked for, in order. */
export interface BrokerCall {
  readonly how: 'run' | CoprocessTool;
  readonly command: Command;
}

/** A real broker in front of a namespace. `close` it. */
export class NamespaceBroker implements Broker {
  readonly calls: BrokerCall[] = [];
  readonly #prefix: readonly string[];
  readonly #broker = startTestBroker();

  constructor(namespace: Namespace) {
    this.#prefix = ['ip', 'netns', 'exec', namespace.name];
  }

  run(command: Command): ReturnType<Broker['run']> {
    this.calls.push({ how: 'run', command });
    return this.#broker.run({ ...command, argv: [...this.#prefix, ...command.argv] });
  }

  transaction(tool: CoprocessTool, command: Command): ReturnType<Broker['run']> {
    this.calls.push({ how: tool, command });
    return this.#broker.transaction(tool, { ...command, argv: [...this.#prefix, ...command.argv] });
  }

  close(): Promise<void> {
    return this.#broker.close();
  }
}
