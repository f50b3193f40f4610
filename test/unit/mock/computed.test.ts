import { describe, expect, it } from 'vitest';
import { LiveMigrationRole } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { MockControlPlane } from '../../../src/mock/control-plane.js';
import { applyValid, newMock, valuesOf } from './support/mock.js';

const POD = `{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: n, labels: {app: a}}, spec: {}, status: {podIP: 10.0.0.1}}`;

/** The last update of the only endpoint in what is flushed now. */
function endpointOf(mock: MockControlPlane) {
  return valuesOf(mock.flush(), 'workloadEndpointUpdate').at(-1)?.endpoint;
}

function calico(kind: string, metadata: string, spec: string): string {
  return `{apiVersion: projectcalico.org/v3, kind: ${kind}, metadata: {${metadata}}, spec: {${spec}}}`;
}

describe('BGPPeer', () => {
  it('is named on the workloads of the nodes that it is for, the first by name', () => {
    const mock = newMock();
    applyValid(
      mock,
      `${POD}\n---\n${calico('BGPPeer', 'name: b', 'node: node1, localWorkloadSelector: "app == \'a\'"')}`,
    );
    expect(endpointOf(mock)?.localBgpPeer?.bgpPeerName).toBe('b');
    applyValid(mock, calico('BGPPeer', 'name: a', 'nodeSelector: has(zone), localWorkloadSelector: has(app)'));
    expect(endpointOf(mock)).toBeUndefined();
    applyValid(mock, calico('Node', 'name: node1, labels: {zone: x}', ''));
    expect(endpointOf(mock)?.localBgpPeer?.bgpPeerName).toBe('a');
    mock.delete({ api: 'calico', kind: 'BGPPeer', namespace: '', name: 'a' });
    mock.delete({ api: 'calico', kind: 'BGPPeer', namespace: '', name: 'b' });
    expect(endpointOf(mock)).toMatchObject({ name: expect.any(String) });
    applyValid(mock, POD);
    expect(endpointOf(mock)?.localBgpPeer).toBeUndefined();
  });
});

describe('LiveMigration', () => {
  it('gives source and target their roles; target wins', () => {
    const mock = newMock();
    const source = 'source: {workload: {hostname: other, orchestratorID: k8s, workloadID: n/a}}';
    applyValid(mock, `${POD}\n---\n${calico('LiveMigration', 'name: m, namespace: n, uid: u1', source)}`);
    expect(endpointOf(mock)).toMatchObject({ liveMigrationRole: LiveMigrationRole.SOURCE, liveMigrationUid: 'u1' });
    applyValid(mock, calico('LiveMigration', 'name: o, namespace: n, uid: u0', 'target: {selector: "app == \'a\'"}'));
    expect(endpointOf(mock)).toMatchObject({ liveMigrationRole: LiveMigrationRole.TARGET, liveMigrationUid: 'u0' });
    mock.delete({ api: 'calico', kind: 'LiveMigration', namespace: 'n', name: 'o' });
    mock.delete({ api: 'calico', kind: 'LiveMigration', namespace: 'n', name: 'm' });
    expect(endpointOf(mock)).toMatchObject({ liveMigrationRole: LiveMigrationRole.NO_ROLE, liveMigrationUid: '' });
  });
});

describe('IstioAmbientMode', () => {
  it('marks pods of ambient namespaces and keeps them all in one set that is there from the start', () => {
    const mock = newMock({ IstioAmbientMode: 'Enabled' });
    expect(valuesOf(mock.flush(), 'ipsetUpdate')).toMatchObject([{ id: 'all-istio-weps', type: 0, members: [] }]);
    const far = POD.replace('name: a', 'name: b')
      .replace('spec: {}', 'spec: {nodeName: node2}')
      .replace('10.0.0.1', '10.0.0.2');
    applyValid(
      mock,
      `${POD}\n---\n${far}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: n, labels: {istio.io/dataplane-mode: ambient}}}`,
    );
    const payloads = mock.flush();
    expect(valuesOf(payloads, 'ipsetDeltaUpdate')).toMatchObject([
      { id: 'all-istio-weps', addedMembers: ['10.0.0.1/32', '10.0.0.2/32'] },
    ]);
    expect(valuesOf(payloads, 'workloadEndpointUpdate')).toMatchObject([{ endpoint: { isIstioAmbient: true } }]);
    applyValid(mock, POD.replace('app: a', 'istio.io/dataplane-mode: none'));
    expect(endpointOf(mock)?.isIstioAmbient).toBe(false);
  });
});
