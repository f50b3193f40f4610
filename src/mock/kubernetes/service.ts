// Services, and the endpoint slices that fill the sets of rules which name a service (calc-graph.md sections 9, 14).
import type { GraphEntry } from '../graph/entries.js';
import { hostCidr, parseAddress } from '../net/cidr.js';
import { defineKind, type ResourceKind } from '../resources/kind.js';
import { defaulted, integer, listOf, oneOf, openObject, optional, text } from '../schema/decoder.js';

const protocol = defaulted(oneOf('TCP', 'UDP', 'SCTP'), 'TCP');
const portNumber = integer(0, 65535);

const serviceSpec = openObject({
  type: defaulted(text('a type of service'), 'ClusterIP'),
  clusterIPs: listOf(text('an address')),
  clusterIP: defaulted(text('an address'), ''),
  loadBalancerIP: defaulted(text('an address'), ''),
  externalIPs: listOf(text('an address')),
  ports: listOf(openObject({ protocol, port: portNumber, nodePort: defaulted(portNumber, 0) })),
});

const serviceStatus = optional(
  openObject({
    loadBalancer: optional(openObject({ ingress: listOf(openObject({ ip: defaulted(text('an address'), '') })) })),
  }),
);

const service = defineKind({
  api: 'kubernetes',
  kind: 'Service',
  namespaced: true,
  fields: { spec: serviceSpec, status: serviceStatus },
  convert: ({ name, namespace, body: { spec, status } }): GraphEntry[] => {
    const single = spec.clusterIP === '' ? [] : [spec.clusterIP];
    return [
      {
        type: 'service',
        key: `${namespace}/${name}`,
        value: {
          name,
          namespace,
          type: spec.type,
          clusterIps: spec.clusterIPs.length > 0 ? spec.clusterIPs : single,
          loadBalancerIp: spec.loadBalancerIP,
          externalIps: spec.externalIPs,
          ports: spec.ports,
          ingressIps: (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip).filter((ip) => ip !== ''),
        },
      },
    ];
  },
});

const PROTOCOLS = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' } as const;
const sliceEndpoints = listOf(openObject({ addresses: listOf(text('an address')) }));
const slicePorts = listOf(openObject({ protocol, port: optional(portNumber) }));

const endpointSlice = defineKind({
  api: 'kubernetes',
  kind: 'EndpointSlice',
  namespaced: true,
  fields: { endpoints: sliceEndpoints, ports: slicePorts },
  convert: ({ name, namespace, metadata, body }): GraphEntry[] => {
    // Slices may name hosts; Felix leaves those out.
    const addresses = body.endpoints
      .flatMap((endpoint) => endpoint.addresses.map(parseAddress))
      .flatMap((address) => (address === undefined ? [] : [hostCidr(address)]));
    const ports = body.ports.flatMap((item) =>
      item.port === undefined ? [] : [{ protocol: PROTOCOLS[item.protocol], port: item.port }],
    );
    const owner = `${namespace}/${metadata.labels.get('kubernetes.io/service-name') ?? ''}`;
    return [{ type: 'endpoint-slice', key: `${namespace}/${name}`, value: { service: owner, addresses, ports } }];
  },
});

/** Service and EndpointSlice. */
export const serviceKinds: readonly ResourceKind[] = [service, endpointSlice];
