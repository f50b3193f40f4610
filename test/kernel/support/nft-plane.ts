// A nftables plane over the real nft in a namespace, for kernel tests.
import { silentLogger } from '../../../src/base/logger.js';
import type { CommandRunner } from '../../../src/kernel/command.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { Operation } from '../../../src/model/operation.js';
import { CommandNftIo } from '../../../src/tables/nftables/command-io.js';
import type { NftFamily, NftIo } from '../../../src/tables/nftables/io.js';
import { NftablesPlane } from '../../../src/tables/nftables/plane.js';
import type { Namespace } from './namespace.js';

/** Runs commands in a namespace; `prefix` stands before them, for a faked PATH. */
export function namespaceRunner(namespace: Namespace, prefix: readonly string[] = []): CommandRunner {
  return {
    run: (command) =>
      directRunner.run({ ...command, argv: ['ip', 'netns', 'exec', namespace.name, ...prefix, ...command.argv] }),
  };
}

export interface RealPlane {
  readonly plane: NftablesPlane;
  readonly io: NftIo;
  readonly operations: Operation[];
}

export function realPlane(
  namespace: Namespace,
  options: { family?: NftFamily; runner?: CommandRunner; required?: boolean } = {},
): RealPlane {
  const io = new CommandNftIo({ runner: options.runner ?? namespaceRunner(namespace) });
  const operations: Operation[] = [];
  const plane = new NftablesPlane({
    family: options.family ?? 'ip',
    features: MODERN_FEATURES,
    refreshIntervalMs: 0,
    io,
    clock: systemClock,
    log: silentLogger,
    onOperation: (operation) => operations.push(operation),
    required: options.required ?? true,
  });
  return { plane, io, operations };
}
