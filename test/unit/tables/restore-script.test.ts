// The text of one iptables-restore call, and whose each line is.
import { expect, it } from 'vitest';
import { BugError } from '../../../src/base/errors.js';
import { RestoreScript } from '../../../src/tables/iptables/restore-script.js';

const CHAIN = { kind: 'chain', name: 'cali-a' } as const;

it('RestoreScript that nothing was added to is empty', () => {
  expect(new RestoreScript('filter').toString()).toBe('');
});

it('RestoreScript ends the open transaction, tells owners by line, and gives the same text again', () => {
  const script = new RestoreScript('nat');
  script.createOrFlush(CHAIN);
  script.add('-A cali-a -j RETURN', CHAIN);
  script.commit();
  script.add('--delete-chain cali-b', { kind: 'delete', name: 'cali-b' });
  const text = '*nat\n:cali-a - -\n-A cali-a -j RETURN\nCOMMIT\n*nat\n--delete-chain cali-b\nCOMMIT\n';
  expect(script.toString()).toBe(text);
  expect(script.toString()).toBe(text);
  expect([0, 1, 2, 3, 4, 5, 6, 7, 8].map((line) => script.ownerOfLine(line)?.name ?? null)).toEqual([
    ...[null, null, 'cali-a', 'cali-a', null, null, 'cali-b', null, null],
  ]);
});

it('RestoreScript takes nothing more once its text was taken', () => {
  const script = new RestoreScript('raw');
  script.add('-A cali-a -j RETURN', CHAIN);
  script.toString();
  expect(() => script.add('-A cali-a -j DROP', CHAIN)).toThrow(BugError);
});
