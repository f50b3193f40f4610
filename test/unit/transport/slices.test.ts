// A pipe full of messages does not keep the rest of the process waiting until all are read.
import { PassThrough } from 'node:stream';
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { InSyncSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { encodeToDataplane } from '../../../src/protocol/messages.js';
import { driverCodec } from '../../../src/transport/session.js';
import { StreamConnection } from '../../../src/transport/stream-connection.js';
import { countTurns } from '../../fakes/slices.js';

const MESSAGES = 60;
/** Time that each message takes; ten of these are a slice and more. */
const MESSAGE_MS = 4;

function frame(sequence: bigint): Buffer {
  const message = encodeToDataplane({ case: 'inSync', value: create(InSyncSchema) }, sequence);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(message.length));
  return Buffer.concat([prefix, message]);
}

function burn(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

test('StreamConnection, many messages at once, lets the event loop turn in between and loses none', async () => {
  const readable = new PassThrough({ highWaterMark: 1 << 20 });
  const writable = new PassThrough();
  for (let sequence = 1; sequence <= MESSAGES; sequence++) readable.write(frame(BigInt(sequence)));
  readable.end();
  const options = { logger: silentLogger };
  const connection = new StreamConnection({ description: 'test', readable, writable }, driverCodec(options), options);
  const counter = countTurns();
  const turnOf: number[] = [];
  connection.start(() => {
    burn(MESSAGE_MS);
    turnOf.push(counter.turns);
  });
  expect(await connection.closed).toEqual({ kind: 'eof' });
  counter.stop();
  expect(turnOf).toHaveLength(MESSAGES);
  const perTurn = new Map<number, number>();
  for (const number of turnOf) perTurn.set(number, (perTurn.get(number) ?? 0) + 1);
  // A slice of 20 ms holds five messages of 4 ms; a slow machine makes it fewer.
  expect(Math.max(...perTurn.values()), 'messages in one turn').toBeLessThanOrEqual(6);
});
