// The Calico HostEndpoint (calc-graph.md sections 8 and 11).
import { defaulted, integer, listOf, object, text } from '../schema/decoder.js';
import { parseDscp, protocolMatch, singleAddress } from '../schema/scalars.js';
import { defineKind } from './kind.js';

const spec = object({
  node: text('the name of a node'),
  interfaceName: defaulted(text('the name of an interface, or * for all'), ''),
  expectedIPs: listOf(singleAddress),
  profiles: listOf(text('the name of a profile')),
  ports: listOf(object({ name: text('a name'), protocol: protocolMatch, port: integer(1, 65535) })),
});

/** The kind HostEndpoint. */
export const hostEndpoint = defineKind({
  api: 'calico',
  kind: 'HostEndpoint',
  namespaced: false,
  fields: { spec },
  check: ({ body }) =>
    body.spec.interfaceName === '' && body.spec.expectedIPs.length === 0
      ? [{ field: 'spec', message: 'needs interfaceName or expectedIPs' }]
      : [],
  convert: ({ name, metadata, body }) => [
    {
      type: 'host-endpoint',
      key: name,
      value: {
        name,
        node: body.spec.node,
        interfaceName: body.spec.interfaceName,
        labels: metadata.labels,
        profiles: body.spec.profiles,
        addresses: body.spec.expectedIPs,
        ports: body.spec.ports,
        dscp: parseDscp(metadata.annotations.get('qos.projectcalico.org/dscp') ?? ''),
      },
    },
  ],
});
