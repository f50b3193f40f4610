import { expect, test } from 'vitest';
import { createNamespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('netlink-overrun');

test('NetlinkSocket.watch says that news were lost, and hears what comes after', async () => {
  const namespace = await createNamespace('overrun');
  try {
    const output = await namespace.run(PROGRAM, { timeoutMs: 30_000 });
    expect(output).toMatch(/^(lost\n)+heard\n$/);
  } finally {
    await namespace.remove();
  }
});
