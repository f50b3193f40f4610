// The IP set seam and a plane over it, through the ipset program and through netlink: one story, the same results.
import { afterEach, describe, expect, test } from 'vitest';
import { createNamespace, type Namespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('ipset-story');

const namespaces: Namespace[] = [];

async function play(kind: 'command' | 'netlink'): Promise<Record<string, unknown>> {
  const namespace = await createNamespace('ipsetio');
  namespaces.push(namespace);
  return JSON.parse(await namespace.run([...PROGRAM, kind], { timeoutMs: 100_000 })) as Record<string, unknown>;
}

afterEach(async () => {
  await Promise.all(namespaces.splice(0).map((namespace) => namespace.remove()));
});

describe('IpSetIo', () => {
  test('the same story through ipset and through netlink has the same results, refusals and lists', async () => {
    const [byTool, byNetlink] = await Promise.all([play('command'), play('netlink')]);
    const { listed: listedByNetlink, ...netlinkResults } = byNetlink;
    const { listed: listedByTool, ...toolResults } = byTool;
    expect(netlinkResults).toEqual(toolResults);
    // The story itself did what it says, so that two equal nothings cannot pass.
    expect(byTool['full']).toEqual({ exitCode: 1, inputLine: 5 });
    expect(byTool['plane refused']).toEqual(['s:inuse']);
    expect(byTool['plane delta']).toEqual([
      { room: 'ipsets', verb: 'add-members', object: 'cali40s:fine', count: 1 },
      { room: 'ipsets', verb: 'remove-members', object: 'cali40s:fine', count: 1 },
    ]);
    expect(byTool['restart refused']).toEqual([]);
    expect(byTool['third start']).toEqual([]);
    expect(JSON.stringify(byTool['list y'])).toContain('10.0.0.0/24 nomatch');
    expect(byTool['repaired']).toEqual([
      [],
      ['add-members cali40s:fine', 'remove-members cali40s:fine'],
      ['add-members cali40s:fine'],
    ]);
    // Of eight sets: those that changed, by digest.
    expect(listedByNetlink).toEqual([0, 1, 1]);
    expect(listedByTool).toEqual([8, 8, 8]);
  });
});
