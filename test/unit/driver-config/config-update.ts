// Makes ConfigUpdate messages for the configuration tests.
import { create } from '@bufbuild/protobuf';
import { type ConfigUpdate, ConfigUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';

/** Sources by number (5 = environment variable) with their raw texts. */
export function updateFrom(sources: Readonly<Record<number, Record<string, string>>>): ConfigUpdate {
  const entries = Object.entries(sources).map(([number, config]) => [number, { source: `source ${number}`, config }]);
  return create(ConfigUpdateSchema, { sourceToRawConfig: Object.fromEntries(entries) });
}

/** Everything from the environment. */
export function environment(texts: Record<string, string>): ConfigUpdate {
  return updateFrom({ 5: texts });
}
