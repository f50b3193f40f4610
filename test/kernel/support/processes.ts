// What programs under test have in common: where they are, what keeps them to their folder, and how their log lines and
// messages are read.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fromBinary } from '@bufbuild/protobuf';
import { type FromDataplane, FromDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';

/** The executable. */
export const EXECUTABLE = join(import.meta.dirname, '../../../bin/felix-dataplane');

/** One JSON log line of the driver. */
export type LogLine = Record<string, unknown> & { readonly msg: string };

/** What keeps a driver in tests to its namespace and its folder. */
export function driverEnvironment(folder: string): Record<string, string> {
  return {
    DATAPLANE_LOG_FORMAT: 'json',
    DATAPLANE_LOG_LEVEL: 'debug',
    DATAPLANE_MTU_FILE: join(folder, 'mtu'),
    DATAPLANE_HEALTH: 'off',
    DATAPLANE_STATUS_PATH_PREFIX: folder,
  };
}

/** A folder that `remove` takes away. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'fdp-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Adds the JSON lines of a stream to `logs`; `onOther` gets the lines that are none, e.g. of a crash. */
export function readLogLines(stream: Readable | null, logs: LogLine[], onOther: (line: string) => void): void {
  let rest = '';
  stream?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      try {
        logs.push(JSON.parse(line) as LogLine);
      } catch {
        onOther(line);
      }
    }
  });
}

/** Adds the messages of a driver's stream of frames to `received`. */
export function readMessages(stream: Readable, received: FromDataplane[]): void {
  let pending = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 8) {
      const length = Number(pending.readBigUInt64LE(0));
      if (pending.length < 8 + length) return;
      received.push(fromBinary(FromDataplaneSchema, pending.subarray(8, 8 + length)));
      pending = pending.subarray(8 + length);
    }
  });
}
