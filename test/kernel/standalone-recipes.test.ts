// The public Kubernetes network policy recipes as YAML in front of `felix-dataplane standalone`: packets between real pods
// decide whether each recipe does what it says, and a change on disk is enforced.
import { request } from 'node:http';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { modeParameters, waitFor } from './support/driver-process.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import { expectPackets } from './support/packets-table.js';
import { namespaceYaml, podYaml, yamlFile } from './support/pod-resources.js';
import { atRest, Program, temporaryFolder } from './support/program.js';

/** p0: web in `default`; p1: a client beside it; p2: in `prod`; p3: in `dev`, with the role of monitoring. */
const PLUGS = podPlugs(4);
const PODS = [
  { namespace: 'default', labels: { app: 'web' } },
  { namespace: 'default', labels: { app: 'client', role: 'frontend' } },
  { namespace: 'prod', labels: { app: 'client', role: 'backend' } },
  { namespace: 'dev', labels: { app: 'client', type: 'monitoring' } },
];
const BASE = yamlFile(
  namespaceYaml('default', { 'kubernetes.io/metadata.name': 'default' }),
  namespaceYaml('prod', { purpose: 'production' }),
  namespaceYaml('dev', { team: 'operations' }),
  ...PLUGS.map((plug, index) => podYaml(plug, PODS[index])),
);

function policy(spec: string, name = 'recipe'): string {
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: default}
spec: ${spec}
`;
}

const WEB = 'podSelector: {matchLabels: {app: web}}';
const EVERYWHERE = ['p1 -> p0', 'p2 -> p0', 'p3 -> p0', 'p0 -> p1, p2, x'];

/** Recipe → policy → stated result. */
const RECIPES: readonly (readonly [string, string, readonly string[]])[] = [
  [
    '01 deny all traffic to an application',
    policy(`{${WEB}, ingress: []}`),
    ['p1 -x-> p0', 'p2 -x-> p0', 'p3 -x-> p0', 'p0 -> p1, p2', 'p2 -> p1'],
  ],
  [
    '02 limit traffic to an application',
    policy(`{${WEB}, ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}]}]}`),
    ['p1 -> p0', 'p2 -x-> p0', 'p3 -x-> p0'],
  ],
  [
    '02a allow all traffic to an application, over a policy that denies all',
    yamlFile(policy('{podSelector: {}, ingress: []}', 'deny-all'), policy(`{${WEB}, ingress: [{}]}`)),
    ['p1 -> p0', 'p2 -> p0', 'x -> p0', 'p0 -x-> p1', 'p2 -x-> p1'],
  ],
  [
    '03 deny all non-whitelisted traffic in a namespace',
    policy('{podSelector: {}, ingress: []}'),
    ['p1 -x-> p0', 'p0 -x-> p1', 'p2 -x-> p0, p1', 'p0 -> p2', 'p2 -> p3'],
  ],
  [
    '04 deny traffic from other namespaces',
    policy('{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}'),
    ['p1 -> p0', 'p0 -> p1', 'p2 -x-> p0, p1', 'p3 -x-> p0', 'p0 -> p2'],
  ],
  [
    '05 allow traffic from all namespaces',
    policy(`{${WEB}, ingress: [{from: [{namespaceSelector: {}}]}]}`),
    ['p1 -> p0', 'p2 -> p0', 'p3 -> p0', 'x -x-> p0'],
  ],
  [
    '06 allow traffic from a namespace',
    policy(`{${WEB}, ingress: [{from: [{namespaceSelector: {matchLabels: {purpose: production}}}]}]}`),
    ['p2 -> p0', 'p1 -x-> p0', 'p3 -x-> p0'],
  ],
  [
    '07 allow traffic from some pods in another namespace',
    policy(
      `{${WEB}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: operations}}, podSelector: {matchLabels: {type: monitoring}}}]}]}`,
    ),
    ['p3 -> p0', 'p1 -x-> p0', 'p2 -x-> p0'],
  ],
  ['08 allow external traffic', policy(`{${WEB}, ingress: [{}]}`), ['x -> p0', 'p1 -> p0', 'p2 -> p0']],
  [
    '09 allow traffic only to a port',
    policy(
      `{${WEB}, ingress: [{ports: [{port: 5000, protocol: TCP}], from: [{podSelector: {matchLabels: {role: frontend}}}]}]}`,
    ),
    ['p1 -> p0:5000', 'p1 -x-> p0:8000', 'p1 -x-> p0:5000/udp', 'p2 -x-> p0:5000'],
  ],
  [
    '10 allow traffic with multiple selectors',
    policy(
      `{${WEB}, ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}, {namespaceSelector: {matchLabels: {purpose: production}}}]}]}`,
    ),
    ['p1 -> p0', 'p2 -> p0', 'p3 -x-> p0'],
  ],
  [
    '11 deny egress traffic from an application',
    policy(`{${WEB}, policyTypes: [Egress], egress: []}`),
    ['p0 -x-> p1, p2, x', 'p1 -> p0, p2, x'],
  ],
  [
    '11a deny egress but to a port',
    policy(
      `{${WEB}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}`,
    ),
    ['p0 -> x:53/udp', 'p0 -> p2:53', 'p0 -x-> p1, x'],
  ],
  [
    '12 deny all non-whitelisted traffic from a namespace',
    policy('{podSelector: {}, policyTypes: [Egress], egress: []}'),
    ['p0 -x-> p1, p2, x', 'p1 -x-> p0, x', 'p2 -> p0, p1'],
  ],
  [
    '14 deny external egress traffic',
    policy(`{${WEB}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}`),
    ['p0 -> p1, p2, p3', 'p0 -x-> x', 'p1 -> x'],
  ],
];

let node: PacketNode;
let standalone: Program;
let resources: string;
let socket: string;
const folder = temporaryFolder();

function call(method: string, path: string, body = ''): Promise<{ status: number; body: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: socket, method, path }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown> }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

beforeAll(async () => {
  node = await PacketNode.create({ pods: PLUGS });
  resources = join(folder.path, 'resources');
  socket = join(folder.path, 'api.sock');
  mkdirSync(resources);
  writeFileSync(join(resources, 'base.yaml'), BASE);
  const settings = Object.entries(modeParameters('nftables')).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  standalone = new Program(['standalone', resources, '--hostname', 'node1', '--api', `unix:${socket}`, ...settings], {
    enter: node.namespace.enter,
  });
  await standalone.logged('The dataplane is in sync');
});
afterEach(async () => {
  const file = join(resources, 'policy.yaml');
  if (!existsSync(file)) return;
  const applied = standalone.lines('Applied').length;
  rmSync(file);
  await standalone.logged('Applied', applied);
});
afterAll(async () => {
  await standalone?.stop();
  await node?.remove();
  folder.remove();
});

describe('standalone', () => {
  test.each(RECIPES)('recipe %s', async (_name, text, table) => {
    writeFileSync(join(resources, 'policy.yaml'), text);
    await atRest(standalone);
    await expectPackets(node, table, { timeoutMs: 15_000 });
  });

  test('without a policy everything passes; an invalid one names file, line and field, and the last valid stays', async () => {
    await expectPackets(node, EVERYWHERE);
    const valid = policy(`{${WEB}, ingress: []}`);
    writeFileSync(join(resources, 'policy.yaml'), valid);
    await expectPackets(node, ['p1 -x-> p0', 'p2 -> p1']);
    const invalid = policy(`
  ${WEB}
  ingress:
  - ports:
    - {port: 70000}`);
    writeFileSync(join(resources, 'policy.yaml'), invalid);
    await waitFor(
      () => standalone.logs.some((line) => /policy\.yaml:\d+: .*default\/recipe: .*port/.test(line.msg)),
      () => standalone.transcript(),
    );
    await atRest(standalone);
    await expectPackets(node, ['p1 -x-> p0', 'p2 -> p1']);
  });

  test('API: applies, lists and deletes; an invalid resource is answered with its line, the others are taken', async () => {
    const applied = await call('POST', '/resources', policy(`{${WEB}, ingress: []}`));
    expect(applied).toMatchObject({ status: 200, body: { applied: ['Kubernetes NetworkPolicy default/recipe'] } });
    await expectPackets(node, ['p1 -x-> p0', 'p2 -> p1']);
    const listed = await call('GET', '/resources');
    expect(listed.body['resources']).toContainEqual({
      api: 'kubernetes',
      kind: 'NetworkPolicy',
      namespace: 'default',
      name: 'recipe',
    });
    const mixed = await call(
      'PUT',
      '/resources',
      yamlFile(policy('{podSelector: 7}', 'bad'), policy(`{${WEB}, ingress: [{}]}`)),
    );
    expect(mixed.status).toBe(422);
    expect(mixed.body).toMatchObject({
      applied: ['Kubernetes NetworkPolicy default/recipe'],
      problems: [{ file: 'body', line: 4, field: 'spec.podSelector' }],
    });
    await expectPackets(node, ['p1 -> p0']);
    await call('PUT', '/resources', policy(`{${WEB}, ingress: []}`));
    await expectPackets(node, ['p1 -x-> p0', 'p2 -> p1']);
    expect((await call('DELETE', '/resources/kubernetes/NetworkPolicy/default/recipe')).status).toBe(200);
    await expectPackets(node, EVERYWHERE);
    expect((await call('DELETE', '/resources/kubernetes/NetworkPolicy/default/recipe')).status).toBe(404);
    expect((await call('DELETE', '/resources/other/x')).status).toBe(400);
    expect((await call('DELETE', '/resources/kubernetes/%zz/x')).status).toBe(400);
    expect((await call('PATCH', '/resources')).status).toBe(405);
    expect((await call('GET', '/')).status).toBe(404);
  });
});
