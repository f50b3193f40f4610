// Pods as workload endpoints (calc-graph.md section 16). One difference from Felix: a pod without node is taken to be on
// this node, so that a mock without scheduler can be used.
import { createHash } from 'node:crypto';
import type { GraphEntry, NamedPort, NatModel } from '../graph/entries.js';
import { type Address, type Cidr, parseAddress, parseCidrOrAddress } from '../net/cidr.js';
import { type ConversionContext, defineKind, type Fault, type Metadata, type Read } from '../resources/kind.js';
import { namedPorts, workloadEntry, workloadLabels } from '../resources/workload-endpoint.js';
import { bool, type Decoded, defaulted, integer, listOf, oneOf, openObject, text } from '../schema/decoder.js';
import { qosOfAnnotations } from './qos.js';

/** Annotation that gives a pod's interface another name than Calico's. */
export const INTERFACE_ANNOTATION = 'felix-dataplane/interface-name';
/** Annotation that gives a pod's MAC address; Calico itself knows none for pods. */
export const MAC_ANNOTATION = 'felix-dataplane/mac';
const POD_IPS = 'cni.projectcalico.org/podIPs';
const POD_IP = 'cni.projectcalico.org/podIP';
const AWS_POD_IPS = 'vpc.amazonaws.com/pod-ips';
const FLOATING_IPS = 'cni.projectcalico.org/floatingIPs';
const SOURCE_PREFIXES = 'cni.projectcalico.org/allowedSourcePrefixes';
const NETWORK_STATUS = 'k8s.v1.cni.cncf.io/network-status';
const MAC = /^$|^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;
const FINISHED: readonly string[] = ['Failed', 'Succeeded', 'Completed'];

const containers = listOf(
  openObject({
    ports: listOf(
      openObject({
        name: defaulted(text('a name'), ''),
        containerPort: integer(0, 65535),
        hostPort: defaulted(integer(0, 65535), 0),
        protocol: defaulted(oneOf('TCP', 'UDP', 'SCTP'), 'TCP'),
      }),
    ),
  }),
);

const spec = openObject({
  nodeName: defaulted(text('the name of a node'), ''),
  hostNetwork: defaulted(bool, false),
  serviceAccountName: defaulted(text('the name of a service account'), ''),
  containers,
  initContainers: containers,
});

const status = defaulted(
  openObject({
    phase: defaulted(text('a phase'), ''),
    podIP: defaulted(text('an address'), ''),
    podIPs: listOf(openObject({ ip: text('an address') })),
  }),
  { phase: '', podIP: '', podIPs: [] },
);

type Pod = Read<{ readonly spec: Decoded<typeof spec>; readonly status: Decoded<typeof status> }>;

/** Name of the host's end of a pod's interface: the prefix and 11 hex digits of the SHA-1 of `NAMESPACE.POD`. */
export function podInterfaceName(namespace: string, pod: string, prefix: string): string {
  return prefix + createHash('sha1').update(`${namespace}.${pod}`).digest('hex').slice(0, 11);
}

function addressTexts({ metadata: { annotations }, body }: Pod): readonly string[] {
  if (body.status.podIPs.length > 0) return body.status.podIPs.map(({ ip }) => ip);
  const sources = [body.status.podIP, annotations.get(POD_IPS), annotations.get(POD_IP), annotations.get(AWS_POD_IPS)];
  return sources.find((source) => source !== undefined && source !== '')?.split(',') ?? [];
}

function isFinished({ metadata, body }: Pod): boolean {
  const released = [POD_IP, AWS_POD_IPS].some((key) => metadata.annotations.get(key) === '');
  return FINISHED.includes(body.status.phase) || (metadata.deletionTimestamp !== undefined && released);
}

function addressesOf(pod: Pod): Cidr[] {
  if (isFinished(pod)) return [];
  return addressTexts(pod).flatMap((item) => parseCidrOrAddress(item.trim()) ?? []);
}

function jsonTexts(value: string | undefined): readonly string[] | undefined {
  if (value === undefined || value === '') return [];
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) && parsed.every((item) => typeof item === 'string') ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function prefixesOf(metadata: Metadata): readonly (Cidr | undefined)[] | undefined {
  return jsonTexts(metadata.annotations.get(SOURCE_PREFIXES))?.map((item) =>
    item.includes('/') ? parseCidrOrAddress(item) : undefined,
  );
}

function natsOf(metadata: Metadata, addresses: readonly Cidr[]): NatModel[] {
  const externals = jsonTexts(metadata.annotations.get(FLOATING_IPS)) ?? [];
  return externals.flatMap((item) => {
    const external = parseAddress(item);
    const internal: Address | undefined = addresses.findLast(({ family }) => family === external?.family);
    return external === undefined || internal === undefined ? [] : [{ external, internal }];
  });
}

function portsOf(pod: Pod): readonly NamedPort[] {
  const all = [...pod.body.spec.containers, ...pod.body.spec.initContainers].flatMap(({ ports }) => ports);
  return namedPorts(
    all
      .filter(({ containerPort }) => containerPort !== 0)
      .map(({ name, containerPort, protocol }) => ({ name, port: containerPort, protocol: protocol.toLowerCase() })),
  );
}

function check(pod: Pod): Fault[] {
  const { annotations } = pod.metadata;
  const field = 'metadata.annotations';
  const faults: Fault[] = [];
  if (addressTexts(pod).some((item) => parseCidrOrAddress(item.trim()) === undefined)) {
    faults.push({
      field: 'status',
      message: `the pod's addresses must be IP addresses, not ${addressTexts(pod).join(',')}`,
    });
  }
  if (jsonTexts(annotations.get(FLOATING_IPS)) === undefined) {
    faults.push({ field, message: `${FLOATING_IPS} must be a JSON list of addresses` });
  }
  if (prefixesOf(pod.metadata)?.every((prefix) => prefix !== undefined) !== true) {
    faults.push({ field, message: `${SOURCE_PREFIXES} must be a JSON list of prefixes` });
  }
  if ((annotations.get(INTERFACE_ANNOTATION) ?? 'eth0').match(/^[^\s/]{1,15}$/) === null) {
    faults.push({ field, message: `${INTERFACE_ANNOTATION} must be an interface name of at most 15 characters` });
  }
  if (!MAC.test(annotations.get(MAC_ANNOTATION) ?? '')) {
    faults.push({ field, message: `${MAC_ANNOTATION} must be a MAC address such as ee:ee:ee:00:00:01, in lower case` });
  }
  return faults;
}

function warn(pod: Pod): Fault[] {
  if (pod.body.spec.hostNetwork) return [];
  const remarks = qosOfAnnotations(pod.metadata.annotations).problems.map((message) => ({
    field: 'metadata.annotations',
    message,
  }));
  if (addressesOf(pod).length > 0) return remarks;
  const message = isFinished(pod)
    ? 'the pod is finished: it has no endpoint any more'
    : `the pod has no address: give status.podIPs or the annotation ${POD_IPS}; until then it has no endpoint`;
  return [...remarks, { field: 'status', message }];
}

function convert(pod: Pod, context: ConversionContext): GraphEntry[] {
  const { name, namespace, metadata, body } = pod;
  const addresses = addressesOf(pod);
  if (body.spec.hostNetwork || addresses.length === 0) return [];
  const account = body.spec.serviceAccountName;
  const networkStatus = metadata.annotations.get(NETWORK_STATUS);
  return [
    workloadEntry({
      node: body.spec.nodeName === '' ? context.hostname : body.spec.nodeName,
      orchestrator: 'k8s',
      workload: `${namespace}/${name}`,
      endpoint: 'eth0',
      interfaceName:
        metadata.annotations.get(INTERFACE_ANNOTATION) ?? podInterfaceName(namespace, name, context.interfacePrefix),
      mac: metadata.annotations.get(MAC_ANNOTATION) ?? '',
      labels: workloadLabels(metadata.labels, namespace, 'k8s', account),
      profiles: [`kns.${namespace}`, ...(account === '' ? [] : [`ksa.${namespace}.${account}`])],
      addresses,
      nats: natsOf(metadata, addresses),
      ports: portsOf(pod),
      allowSpoofedSourcePrefixes: (prefixesOf(metadata) ?? []).flatMap((prefix) => prefix ?? []),
      annotations: new Map(networkStatus === undefined ? [] : [[NETWORK_STATUS, networkStatus]]),
      qos: qosOfAnnotations(metadata.annotations).qos,
    }),
  ];
}

/** The kind Pod. */
export const pod = defineKind({
  api: 'kubernetes',
  kind: 'Pod',
  namespaced: true,
  fields: { spec, status },
  check,
  warn,
  convert,
});
