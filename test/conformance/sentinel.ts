// Resources that carry the number of a step, one of each kind that a run changes, each with an effect of its own in the
// kernel. Felix watches each kind on a connection of its own: only when all have arrived has it been told the step.
import type { Mode } from '../fixtures/recording.js';
import type { KernelDump } from '../kernel/support/dump.js';
import { type Resource, stored } from './resources.js';

/** Interface of the pod that the sentinels' policies select. */
const SENTINEL_INTERFACE = 'calisent';
/** Makes that interface. */
export const SENTINEL_LINK = `ip link add ${SENTINEL_INTERFACE} type veth peer name psent`;

const LABELS = { sentinel: 'yes' };

interface Sentinel {
  readonly resource: (step: number) => Resource;
  /** What a dump holds when the resource of this step is in force. */
  readonly trace: (step: number) => string;
}

function resource(kind: string, namespace: string | null, spec: Record<string, unknown>, labels = {}): Resource {
  return stored({ kind, metadata: { name: 'sentinel', ...(namespace === null ? {} : { namespace }), labels }, spec });
}

function allowPort(port: number): Record<string, unknown> {
  return { action: 'Allow', protocol: 'TCP', destination: { ports: [port] } };
}

function policy(kind: string, namespace: string | null, port: number): Resource {
  const members = { action: 'Allow', destination: { selector: "sentinel == 'yes'" } };
  return resource(kind, namespace, {
    order: 5000,
    selector: "sentinel == 'yes'",
    types: ['Egress'],
    egress: [allowPort(port), ...(namespace === null ? [members] : [])],
  });
}

const SENTINELS: readonly Sentinel[] = [
  {
    resource: (step) =>
      stored({
        kind: 'WorkloadEndpoint',
        metadata: { name: 'node1-k8s-sentinel-eth0', namespace: 'default', labels: LABELS },
        spec: {
          node: 'node1',
          orchestrator: 'k8s',
          pod: 'sentinel',
          endpoint: 'eth0',
          interfaceName: SENTINEL_INTERFACE,
          mac: 'ee:ee:ee:ee:ee:aa',
          profiles: ['sentinel'],
          ipNetworks: [`198.18.1.${step}/32`],
        },
      }),
    trace: (step) => `198.18.1.${step}`,
  },
  {
    resource: (step) => resource('GlobalNetworkSet', null, { nets: [`198.18.2.${step}`] }, LABELS),
    trace: (step) => `198.18.2.${step}`,
  },
  {
    resource: (step) => resource('NetworkSet', 'default', { nets: [`198.18.3.${step}`] }, LABELS),
    trace: (step) => `198.18.3.${step}`,
  },
  {
    resource: (step) => resource('HostEndpoint', null, { node: 'node2', expectedIPs: [`198.18.4.${step}`] }, LABELS),
    trace: (step) => `198.18.4.${step}`,
  },
  {
    resource: (step) => resource('IPPool', null, { cidr: `198.18.${100 + step}.0/24` }),
    trace: (step) => `198.18.${100 + step}.0/24`,
  },
  {
    resource: (step) => resource('Profile', null, { egress: [allowPort(20_000 + step)] }),
    trace: (step) => `${20_000 + step}`,
  },
  { resource: (step) => policy('GlobalNetworkPolicy', null, 21_000 + step), trace: (step) => `${21_000 + step}` },
  { resource: (step) => policy('NetworkPolicy', 'default', 22_000 + step), trace: (step) => `${22_000 + step}` },
];

/** The sentinels of a step, to be written after everything else of it. */
export function sentinels(step: number): Resource[] {
  return SENTINELS.map((each) => each.resource(step));
}

/** The traces of a step that a kernel does not show yet. */
export function missingTraces(dump: KernelDump, mode: Mode, step: number): string[] {
  const text = mode === 'nftables' ? (dump['nft'] ?? '') : `${dump[mode] ?? ''}${dump['ipset'] ?? ''}`;
  const words = new Set(text.split(/[\s,{}]+/));
  return SENTINELS.map((each) => each.trace(step)).filter((trace) => !words.has(trace));
}
