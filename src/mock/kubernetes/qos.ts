// Traffic limits of a pod, from its annotations (calc-graph.md section 16).
import type { Labels, QosControls } from '../graph/entries.js';
import { parseDscp } from '../schema/scalars.js';
import { parseQuantity } from './quantity.js';

interface Limits {
  readonly min: number;
  readonly max: number;
}

const BANDWIDTH: Limits = { min: 1e3, max: 1e15 };
const BURST: Limits = { min: 1e3, max: 34_359_738_360 };
const PEAKRATE: Limits = { min: 1_010, max: 1.01e15 };
const MINBURST: Limits = { min: 1e3, max: 1e8 };
const PACKETS: Limits = { min: 1, max: 10_000 };
const CONNECTIONS: Limits = { min: 1, max: 4_294_967_295 };
const DEFAULT_BURST = 2 ** 32;
const DEFAULT_PACKET_BURST = 5;
const PREFIX = 'qos.projectcalico.org/';

/** Reads annotations and remembers what was wrong with them. */
class AnnotationReader {
  readonly #annotations: Labels;
  readonly problems: string[] = [];

  constructor(annotations: Labels) {
    this.#annotations = annotations;
  }

  has(key: string): boolean {
    return this.#annotations.has(key);
  }

  /** Out of range: the nearest bound. No quantity, or not there: 0. */
  amount(key: string, { min, max }: Limits): number {
    const text = this.#annotations.get(key);
    if (text === undefined) return 0;
    const value = parseQuantity(text);
    if (value === undefined) {
      this.problems.push(`${key} must be a quantity such as 10M, not ${JSON.stringify(text)}: it is ignored`);
      return 0;
    }
    if (value < min || value > max) this.problems.push(`${key} must be from ${min} to ${max}: the nearest is used`);
    return Math.min(Math.max(value, min), max);
  }

  dscp(): number | undefined {
    const text = this.#annotations.get(`${PREFIX}dscp`);
    const value = text === undefined ? undefined : parseDscp(text);
    if (text !== undefined && value === undefined) {
      this.problems.push(`${PREFIX}dscp must be a DSCP name or 0 to 63, not ${JSON.stringify(text)}: it is ignored`);
    }
    return value;
  }

  /** `value`, or 0 with a remark if what it needs is missing. */
  needs(value: number, met: boolean, remark: string): number {
    if (value === 0 || met) return value;
    this.problems.push(remark);
    return 0;
  }
}

function direction(read: AnnotationReader, name: 'ingress' | 'egress') {
  const own = `${PREFIX}${name}Bandwidth`;
  const bandwidth = read.amount(read.has(own) ? own : `kubernetes.io/${name}-bandwidth`, BANDWIDTH);
  const key = (suffix: string): string => `${PREFIX}${name}${suffix}`;
  const burst = read.needs(read.amount(key('Burst'), BURST), bandwidth > 0, `${key('Burst')} needs a bandwidth`);
  const peak = read.amount(key('Peakrate'), PEAKRATE);
  const peakrate = read.needs(peak, bandwidth > 0 && peak > bandwidth, `${key('Peakrate')} must exceed the bandwidth`);
  const minburst = read.needs(
    read.amount(key('Minburst'), MINBURST),
    peakrate > 0,
    `${key('Minburst')} needs a peakrate`,
  );
  const packetRate = read.amount(key('PacketRate'), PACKETS);
  const packetBurst = read.needs(
    read.amount(key('PacketBurst'), PACKETS),
    packetRate > 0,
    `${key('PacketBurst')} needs a packet rate`,
  );
  return {
    bandwidth,
    burst: bandwidth > 0 && burst === 0 ? DEFAULT_BURST : burst,
    peakrate,
    minburst,
    packetRate,
    packetBurst: packetRate > 0 && packetBurst === 0 ? DEFAULT_PACKET_BURST : packetBurst,
    maxConnections: read.amount(key('MaxConnections'), CONNECTIONS),
  };
}

/** The limits of a pod, undefined if it has none, and remarks on annotations that were changed or ignored. */
export function qosOfAnnotations(annotations: Labels): {
  readonly qos: QosControls | undefined;
  readonly problems: readonly string[];
} {
  const read = new AnnotationReader(annotations);
  const ingress = direction(read, 'ingress');
  const egress = direction(read, 'egress');
  const dscp = read.dscp();
  const unlimited = [...Object.values(ingress), ...Object.values(egress)].every((value) => value === 0);
  if (unlimited && dscp === undefined) return { qos: undefined, problems: read.problems };
  const qos: QosControls = {
    ingressBandwidth: ingress.bandwidth,
    egressBandwidth: egress.bandwidth,
    ingressBurst: ingress.burst,
    egressBurst: egress.burst,
    ingressPeakrate: ingress.peakrate,
    egressPeakrate: egress.peakrate,
    ingressMinburst: ingress.minburst,
    egressMinburst: egress.minburst,
    ingressPacketRate: ingress.packetRate,
    egressPacketRate: egress.packetRate,
    ingressPacketBurst: ingress.packetBurst,
    egressPacketBurst: egress.packetBurst,
    ingressMaxConnections: ingress.maxConnections,
    egressMaxConnections: egress.maxConnections,
    dscp,
  };
  return { qos, problems: read.problems };
}
