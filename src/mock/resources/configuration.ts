// FelixConfiguration, ClusterInformation and BGPConfiguration (calc-graph.md sections 14 and 18).
import { durationUnitOfField, parameterOfField } from '../config/parameters.js';
import { anything, type Cursor, type Decoder, defaulted, listOf, object, openObject, text } from '../schema/decoder.js';
import { selectorText } from '../schema/scalars.js';
import { defineKind, type Metadata } from './kind.js';

const ANNOTATION_PREFIX = 'config.projectcalico.org/';
const UNIT_SECONDS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 };

function parseDuration(value: unknown): number | undefined {
  if (value === 0 || value === '0') return 0;
  if (typeof value !== 'string' || !/^([\d.]+(h|ms|m|s|us|\u00b5s|ns))+$/.test(value)) return undefined;
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/([\d.]+)(h|ms|m|s|us|\u00b5s|ns)/g)) {
    seconds += Number(amount) * (UNIT_SECONDS[unit ?? ''] ?? Number.NaN);
  }
  return Number.isNaN(seconds) ? undefined : Number(seconds.toFixed(9));
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function failsafePorts(ports: readonly unknown[]): string {
  if (ports.length === 0) return 'none';
  return ports
    .map((entry) => {
      const { protocol, port, net } = asRecord(entry);
      const where = net === undefined ? '' : String(net).includes(':') ? `[${String(net)}]:` : `${String(net)}:`;
      return `${String(protocol).toLowerCase()}:${where}${String(port)}`;
    })
    .join(',');
}

function printRange(value: unknown): string {
  const { min, max } = asRecord(value);
  return `${String(min)}-${String(max)}`;
}

function printValue(field: string, value: unknown): string | undefined {
  switch (field) {
    case 'failsafeInboundHostPorts':
    case 'failsafeOutboundHostPorts':
      return Array.isArray(value) ? failsafePorts(value) : undefined;
    case 'routeTableRange':
      return printRange(value);
    case 'routeTableRanges':
      return Array.isArray(value) ? value.map(printRange).join(',') : undefined;
    case 'healthTimeoutOverrides':
      return Array.isArray(value)
        ? value.map((entry) => `${String(asRecord(entry).name)}=${String(asRecord(entry).timeout)}`).join(',')
        : undefined;
    default:
  }
  if (Array.isArray(value)) return value.map(String).join(',');
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value)
      .map(([key, item]) => `${key}=${String(item)},`)
      .join('');
  }
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined;
}

function readParameter(cursor: Cursor, field: string): readonly [string, string] {
  const parameter = parameterOfField(field);
  if (parameter === undefined) return cursor.reject('is no field of FelixConfiguration');
  const value = anything(cursor);
  const unit = durationUnitOfField(field);
  if (unit !== undefined) {
    const seconds = parseDuration(value) ?? cursor.reject(`must be a duration such as 90s, not ${cursor.describe()}`);
    return [parameter, String(unit === 'ms' ? seconds * 1000 : seconds)];
  }
  return [
    parameter,
    printValue(field, value) ?? cursor.reject(`has a form that is not known here: ${cursor.describe()}`),
  ];
}

interface FelixSpec {
  readonly nodeSelector: string | undefined;
  readonly parameters: ReadonlyMap<string, string>;
}

const felixSpec: Decoder<FelixSpec> = (cursor) => {
  const parameters = new Map<string, string>();
  let nodeSelector: string | undefined;
  let sound = true;
  for (const field of cursor.keys()) {
    const at = cursor.at(field);
    if (at.node === undefined) continue;
    if (field === 'nodeSelector') {
      const read = at.attempt(selectorText());
      nodeSelector = read?.value;
      sound &&= read !== undefined;
    } else {
      const read = at.attempt((place) => readParameter(place, field));
      if (read === undefined) sound = false;
      else if (read.value[1] !== '') parameters.set(...read.value);
    }
  }
  return sound ? { nodeSelector, parameters } : cursor.giveUp();
};

function withAnnotations(parameters: ReadonlyMap<string, string>, metadata: Metadata): ReadonlyMap<string, string> {
  const result = new Map(parameters);
  for (const [key, value] of metadata.annotations) {
    if (key.startsWith(ANNOTATION_PREFIX)) result.set(key.slice(ANNOTATION_PREFIX.length), value);
  }
  return result;
}

const felixSpecOrEmpty = defaulted(felixSpec, { nodeSelector: undefined, parameters: new Map() });

/** The kind FelixConfiguration. */
export const felixConfiguration = defineKind({
  api: 'calico',
  kind: 'FelixConfiguration',
  namespaced: false,
  fields: { spec: felixSpecOrEmpty },
  check: ({ name, body }) => {
    const scoped = name !== 'default' && !name.startsWith('node.');
    if (scoped && (body.spec.nodeSelector ?? '') === '') {
      return [{ field: 'spec.nodeSelector', message: 'is required unless the name is default or node.NODE' }];
    }
    if (!scoped && body.spec.nodeSelector !== undefined) {
      return [{ field: 'spec.nodeSelector', message: `is not allowed in the configuration ${name}` }];
    }
    return [];
  },
  convert: ({ name, metadata, body }) => [
    {
      type: 'felix-config',
      key: name,
      value: {
        name,
        nodeSelector: body.spec.nodeSelector,
        creationTimestamp: metadata.creationTimestamp ?? '',
        parameters: withAnnotations(body.spec.parameters, metadata),
      },
    },
  ],
});

const clusterSpec = openObject({
  clusterGUID: defaulted(text(), ''),
  clusterType: defaulted(text(), ''),
  calicoVersion: defaulted(text(), ''),
});

/** Key under which ClusterInformation is kept beside the Felix configurations; no resource may have such a name. */
export const CLUSTER_INFORMATION_KEY = '(cluster information)';

/** The kind ClusterInformation; only `default` counts. */
export const clusterInformation = defineKind({
  api: 'calico',
  kind: 'ClusterInformation',
  namespaced: false,
  fields: { spec: clusterSpec },
  convert: ({ name, body: { spec } }) => {
    if (name !== 'default') return [];
    const pairs: [string, string][] = [
      ['ClusterGUID', spec.clusterGUID],
      ['ClusterType', spec.clusterType],
      ['CalicoVersion', spec.calicoVersion],
    ];
    return [
      {
        type: 'felix-config',
        key: CLUSTER_INFORMATION_KEY,
        value: {
          name: CLUSTER_INFORMATION_KEY,
          nodeSelector: undefined,
          creationTimestamp: '',
          parameters: new Map(pairs.filter(([, value]) => value !== '')),
        },
      },
    ];
  },
});

const cidrBlocks = listOf(object({ cidr: defaulted(text('a prefix'), '') }));

const bgpSpec = openObject({
  serviceClusterIPs: cidrBlocks,
  serviceExternalIPs: cidrBlocks,
  serviceLoadBalancerIPs: cidrBlocks,
  localWorkloadPeeringIPV4: defaulted(text('an address'), ''),
  localWorkloadPeeringIPV6: defaulted(text('an address'), ''),
});

/** The kind BGPConfiguration; only `default` counts. */
export const bgpConfiguration = defineKind({
  api: 'calico',
  kind: 'BGPConfiguration',
  namespaced: false,
  fields: { spec: bgpSpec },
  convert: ({ name, body: { spec } }) => {
    if (name !== 'default') return [];
    const texts = (blocks: readonly { readonly cidr: string }[]): string[] =>
      blocks.map((block) => block.cidr).filter((cidr) => cidr !== '');
    return [
      {
        type: 'bgp-config',
        key: name,
        value: {
          clusterCidrs: texts(spec.serviceClusterIPs),
          externalCidrs: texts(spec.serviceExternalIPs),
          loadBalancerCidrs: texts(spec.serviceLoadBalancerIPs),
          peeringIpV4: spec.localWorkloadPeeringIPV4,
          peeringIpV6: spec.localWorkloadPeeringIPV6,
        },
      },
    ];
  },
});
