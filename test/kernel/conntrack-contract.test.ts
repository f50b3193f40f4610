// Flows of an address are removed alike by the conntrack tool and by netlink: few IPv4 addresses by the kernel's
// filters, all others, and those of a kernel without filters, by a listing.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNamespace, type Namespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('conntrack-story');
/** More than one batch of deletions. */
const FLOWS = 300;

let namespace: Namespace;

beforeEach(async () => {
  namespace = await createNamespace('ct');
});

afterEach(async () => {
  await namespace.remove();
});

test.each(['command', 'netlink', 'netlink-many', 'netlink-old'])(
  '%s removes what an address started and what it answered, and nothing else',
  async (kind) => {
    const output = await namespace.run([...PROGRAM, kind, `${FLOWS}`], { timeoutMs: 100_000 });
    expect(JSON.parse(output)).toEqual({
      left: [
        'src=10.0.0.1 dst=10.65.0.20 sport=1002',
        'src=10.65.0.3 dst=10.0.0.1 sport=1004',
        'src=fd00:1::1 dst=fd00::20 sport=1008',
      ],
      cleaned: [
        ...['10.65.0.2', '10.65.0.4', '10.65.0.9', ...(kind === 'netlink-many' ? ['10.65.0.98'] : [])],
        ...['10.65.0.99', 'fd00::2'],
      ].map((name) => `delete-flows ${name}`),
    });
  },
);
