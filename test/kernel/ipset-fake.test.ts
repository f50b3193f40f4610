// The fake ipset against the real one: the same random commands, the same state and the same refusals.
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { commandIpSetIo } from '../../src/ipsets/command-io.js';
import type { CommandResult } from '../../src/kernel/command.js';
import { FakeCommandRunner } from '../fakes/command-runner.js';
import { FakeIpSetKernel } from '../fakes/ipset-kernel.js';
import { FaultyRunner } from './support/faulty-runner.js';
import { createNamespace, type Namespace } from './support/namespace.js';

let namespace: Namespace;

beforeEach(async () => {
  namespace = await createNamespace('ipsetfake');
});

afterEach(async () => {
  await namespace.remove();
});

// No prefixes: in a hash:ip set ipset takes them for ranges, which we never write and the fake does not have.
const name = fc.constantFrom('a', 'b', 'c');
const address = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4');
const member = fc.oneof(
  { weight: 6, arbitrary: address },
  { weight: 1, arbitrary: fc.constantFrom('10.0.0.1,tcp:80', 'fd00::1') },
);
const create = fc
  .tuple(name, fc.constantFrom('hash:ip', 'hash:net', 'hash:ip,port'), fc.constantFrom(2, 9))
  .map(([set, type, size]) => `create ${set} ${type} family inet maxelem ${size}`);
const line = fc.oneof(
  { weight: 2, arbitrary: create },
  { weight: 8, arbitrary: fc.tuple(name, member).map(([set, text]) => `add ${set} ${text}`) },
  { weight: 2, arbitrary: fc.tuple(name, member).map(([set, text]) => `del ${set} ${text}`) },
  { weight: 1, arbitrary: fc.tuple(name, name).map(([one, other]) => `swap ${one} ${other}`) },
  { weight: 1, arbitrary: name.map((set) => `destroy ${set}`) },
  { weight: 1, arbitrary: name.map((set) => `flush ${set}`) },
);
/** A small set of each type that matters is there from the start, or most lines would only say that there is none. */
const START = ['create a hash:net family inet maxelem 2', 'create b hash:ip family inet maxelem 2'];

test('FakeIpSetKernel carries out any script as ipset does', async () => {
  const real = new FaultyRunner(namespace);
  const script = fc.array(line, { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.array(script, { minLength: 1, maxLength: 3 }), async (scripts) => {
      await namespace.run(['ipset', 'destroy']);
      const kernel = new FakeIpSetKernel();
      const fake = new FakeCommandRunner({ ipset: kernel.program });
      for (const lines of [START, ...scripts]) {
        const command = { argv: ['ipset', '-exist', 'restore'], stdin: `${lines.join('\n')}\n` };
        const summary = (result: CommandResult): unknown[] => [
          result.exitCode,
          /Error in line \d+/.exec(result.stderr)?.[0],
        ];
        expect(summary(await fake.run(command))).toEqual(summary(await real.run(command)));
        for (const set of ['a', 'b', 'c']) {
          const [ours, theirs] = await Promise.all([commandIpSetIo(fake).list(set), commandIpSetIo(real).list(set)]);
          const plain = (found: typeof ours): unknown =>
            found === null ? null : { ...found, members: [...found.members].sort() };
          expect(plain(ours)).toEqual(plain(theirs));
        }
      }
    }),
    { numRuns: 100 },
  );
});
