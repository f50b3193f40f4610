// Batches in pieces: as many as one writev takes, and whole messages one after the other.
import { expect, test } from 'vitest';
import { CompatBatch, joinCompatBatches } from '../../../src/kernel/netlink/compat-batch.js';
import { parseMessages } from '../../../src/kernel/netlink/message.js';

/** IOV_MAX (include/uapi/linux/uio.h: UIO_MAXIOV). */
const MAX_PIECES = 1024;
/** With its head, half of what a message may be long. */
const RULE = { bytes: Buffer.alloc(32_000), places: [] };
const PAGE = 4096;
const MAX_KEPT = 4;
/** 256 MiB: five times what 5,000 pods take in one family. */
const RULES = 8_192;

test('joinCompatBatches, a very large batch, has no more pieces than one writev takes', () => {
  const batch = new CompatBatch(4, 'filter');
  for (let rule = 0; rule < RULES; rule++) batch.addRule('cali-a', RULE, [], 'last');
  const { bytes, messages } = joinCompatBatches([batch]);
  expect(bytes.length).toBeLessThan(MAX_PIECES);
  expect(messages).toBe(RULES + 2);
  const seen = bytes.reduce((sum, piece) => sum + parseMessages(piece).length, 0);
  expect(seen, 'no message is cut').toBe(messages);
  batch.release();
});

test('release keeps some pieces for the next batch and gives the pages of the others back', () => {
  const batch = new CompatBatch(4, 'filter');
  for (let rule = 0; rule < 64; rule++) batch.addRule('cali-a', RULE, [], 'last');
  const { bytes } = batch.finish(false);
  const written = (): number =>
    bytes.filter((piece) => piece.subarray(PAGE, 2 * PAGE).some((byte) => byte !== 0)).length;
  for (const piece of bytes) piece.fill(1);
  expect(written()).toBe(bytes.length);
  batch.release();
  expect(written()).toBeLessThanOrEqual(MAX_KEPT);
});
