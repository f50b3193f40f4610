import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createNamespace } from './support/namespace.js';

const TSX = join(import.meta.dirname, '../../node_modules/.bin/tsx');
const PROGRAM = join(import.meta.dirname, 'programs/netlink-overrun.ts');

test('NetlinkSocket.watch says that news were lost, and hears what comes after', async () => {
  const namespace = await createNamespace('overrun');
  try {
    const output = await namespace.run([TSX, PROGRAM], { timeoutMs: 30_000 });
    expect(output).toMatch(/^(lost\n)+heard\n$/);
  } finally {
    await namespace.remove();
  }
});
