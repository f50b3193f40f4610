// The Calico WorkloadEndpoint (calc-graph.md sections 3, 8, 11 and 17).
import type { GraphEntry, Labels, QosControls, WorkloadModel } from '../graph/entries.js';
import { type Decoded, defaulted, integer, listOf, object, optional, text } from '../schema/decoder.js';
import { address, cidr, dscp, mac, type ProtocolMatch, protocolMatch, singleAddress } from '../schema/scalars.js';
import { defineKind, type Fault, type Read } from './kind.js';

const amount = defaulted(integer(0, Number.MAX_SAFE_INTEGER), 0);

const qosControls = object({
  ingressBandwidth: amount,
  egressBandwidth: amount,
  ingressBurst: amount,
  egressBurst: amount,
  ingressPeakrate: amount,
  egressPeakrate: amount,
  ingressMinburst: amount,
  egressMinburst: amount,
  ingressPacketRate: amount,
  egressPacketRate: amount,
  ingressPacketBurst: amount,
  egressPacketBurst: amount,
  ingressMaxConnections: amount,
  egressMaxConnections: amount,
  dscp: optional(dscp),
});

const port = object({
  name: defaulted(text('a name'), ''),
  protocol: protocolMatch,
  port: integer(1, 65535),
  hostPort: optional(integer(0, 65535)),
  hostIP: optional(text('an address')),
});

const spec = object({
  orchestrator: text('the name of an orchestrator such as k8s'),
  node: text('the name of a node'),
  workload: defaulted(text(), ''),
  containerID: defaulted(text(), ''),
  pod: defaulted(text(), ''),
  endpoint: text('the name of the interface in the pod, such as eth0'),
  serviceAccountName: defaulted(text(), ''),
  ipNetworks: listOf(singleAddress),
  ipNATs: listOf(object({ internalIP: address, externalIP: address })),
  ipv4Gateway: optional(text()),
  ipv6Gateway: optional(text()),
  profiles: listOf(text('the name of a profile')),
  interfaceName: defaulted(text('the name of an interface'), ''),
  mac: defaulted(mac, ''),
  ports: listOf(port),
  allowSpoofedSourcePrefixes: listOf(cidr),
  qosControls: optional(qosControls),
});
type Spec = Decoded<typeof spec>;

function workloadName(body: Spec): string {
  if (body.orchestrator === 'k8s') return body.pod;
  if (body.orchestrator === 'cni') return body.containerID;
  return body.orchestrator === 'libnetwork' ? 'libnetwork' : body.workload;
}

/** Name of the resource of an endpoint: its parts with dashes doubled, joined by dashes. */
export function workloadEndpointName(...parts: readonly string[]): string {
  return parts.map((part) => part.replaceAll('-', '--')).join('-');
}

/** The labels that count for an endpoint: those given, less what imitates inherited ones, plus the forced ones. */
export function workloadLabels(
  own: Labels,
  namespace: string,
  orchestrator: string,
  serviceAccount: string,
): ReadonlyMap<string, string> {
  const labels = new Map([...own].filter(([key]) => !key.startsWith('pcns.') && !key.startsWith('pcsa.')));
  labels.set('projectcalico.org/namespace', namespace);
  labels.set('projectcalico.org/orchestrator', orchestrator);
  if (serviceAccount !== '') labels.set('projectcalico.org/serviceaccount', serviceAccount);
  return labels;
}

/** The graph entry of a workload endpoint. */
export function workloadEntry(value: WorkloadModel): GraphEntry {
  return { type: 'workload', key: `${value.node} ${value.orchestrator} ${value.workload} ${value.endpoint}`, value };
}

/** Ports that may be matched by name. */
export function namedPorts(
  ports: readonly { readonly name: string; readonly protocol: ProtocolMatch; readonly port: number }[],
): WorkloadModel['ports'] {
  return ports
    .filter(({ name }) => name !== '')
    .map((item) => ({ name: item.name, protocol: item.protocol, port: item.port }));
}

function convert(read: Read<{ readonly spec: Spec }>): readonly GraphEntry[] {
  const body = read.body.spec;
  if (body.ipNetworks.length === 0) return [];
  const qos: QosControls | undefined = body.qosControls;
  return [
    workloadEntry({
      node: body.node,
      orchestrator: body.orchestrator,
      workload: `${read.namespace}/${workloadName(body)}`,
      endpoint: body.endpoint,
      interfaceName: body.interfaceName,
      mac: body.mac,
      labels: workloadLabels(read.metadata.labels, read.namespace, body.orchestrator, body.serviceAccountName),
      profiles: body.profiles,
      addresses: body.ipNetworks,
      nats: body.ipNATs.map((nat) => ({ external: nat.externalIP, internal: nat.internalIP })),
      ports: namedPorts(body.ports),
      allowSpoofedSourcePrefixes: body.allowSpoofedSourcePrefixes,
      annotations: read.metadata.annotations,
      qos,
    }),
  ];
}

function check({ body: { spec: body } }: Read<{ readonly spec: Spec }>): Fault[] {
  const faults: Fault[] = [];
  const own = new Set(body.ipNetworks.map(({ family, bits }) => `${family} ${bits}`));
  if (body.ipNATs.some(({ internalIP }) => !own.has(`${internalIP.family} ${internalIP.bits}`))) {
    faults.push({ field: 'spec.ipNATs', message: 'each internalIP must be one of ipNetworks' });
  }
  if (body.ports.some(({ protocol }) => !['tcp', 'udp', 'sctp'].includes(String(protocol)))) {
    faults.push({ field: 'spec.ports', message: 'the protocol of a port must be TCP, UDP or SCTP' });
  }
  if (body.ports.some(({ name, hostPort }) => name === '' && (hostPort ?? 0) === 0)) {
    faults.push({ field: 'spec.ports', message: 'each port needs a name or a hostPort' });
  }
  return faults;
}

/** The kind WorkloadEndpoint. */
export const workloadEndpoint = defineKind({
  api: 'calico',
  kind: 'WorkloadEndpoint',
  namespaced: true,
  fields: { spec },
  nameOf: ({ spec: body }) => workloadEndpointName(body.node, body.orchestrator, workloadName(body), body.endpoint),
  check,
  warn: ({ body: { spec: body } }) => {
    if (body.ipNetworks.length === 0)
      return [{ field: 'spec', message: 'has no ipNetworks: the endpoint is left out' }];
    return body.interfaceName === ''
      ? [{ field: 'spec', message: 'has no interfaceName: the endpoint is left out' }]
      : [];
  },
  convert,
});
