import { afterEach, describe, expect, test } from 'vitest';
import { createNamespace, type Namespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('route-kernel');
const HOST = `
ip link add eth0 address 02:00:00:00:00:01 type veth peer name ext0
ip addr add 192.168.0.1/24 dev eth0
ip link set eth0 up
ip link set ext0 up
ip link add cali1 address 02:00:00:00:00:02 type veth peer name pcali1
ip link set cali1 up
ip link set pcali1 up
ip link add down0 type veth peer name pdown0
`;

const namespaces: Namespace[] = [];

async function play(kind: 'command' | 'netlink'): Promise<Record<string, unknown>> {
  const namespace = await createNamespace('rtkernel');
  namespaces.push(namespace);
  await namespace.shell(HOST);
  return JSON.parse(await namespace.run([...PROGRAM, kind])) as Record<string, unknown>;
}

describe('RouteKernel', () => {
  afterEach(async () => {
    await Promise.all(namespaces.splice(0).map((namespace) => namespace.remove()));
  });

  test('the same story through iproute2 and through netlink has the same results, reasons and lists', async () => {
    const [byTools, byNetlink] = await Promise.all([play('command'), play('netlink')]);
    expect(byNetlink).toEqual(byTools);
    // The story itself did what it says, so that two equal nothings cannot pass.
    expect((byTools as { undo: string[] }).undo).toEqual(['done', 'done', 'done', 'done', 'done']);
    expect(JSON.stringify(byTools['after'])).toContain('10.65.9.0/24');
    expect(byTools['spared']).toEqual(['missing', 'missing', 'missing']);
    for (const dst of ['10.66.0.1/32', '10.66.0.2/32', 'fd00:66::1/128', '192.168.0.6']) {
      expect(JSON.stringify(byTools['afterUndo'])).toContain(dst);
    }
  });
});
