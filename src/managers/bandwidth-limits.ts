// Reads the bandwidth limits of a workload endpoint (dataplane.md 2.10).
import type { BandwidthLimit } from '../interfaces/interface-settings.js';
import type { QoSControls } from '../protocol/gen/felix/felixbackend_pb.js';

/** Both directions; null = no limit. `ingress` is toward the workload. */
export interface BandwidthLimits {
  readonly ingress: BandwidthLimit | null;
  readonly egress: BandwidthLimit | null;
}

/** Only the rate decides whether there is a limit: burst or peak alone limit nothing. */
export function bandwidthLimits(qos: QoSControls | undefined): BandwidthLimits {
  if (qos === undefined) return { ingress: null, egress: null };
  return {
    ingress: limit(qos.IngressBandwidth, qos.IngressBurst, qos.IngressPeakrate, qos.IngressMinburst),
    egress: limit(qos.EgressBandwidth, qos.EgressBurst, qos.EgressPeakrate, qos.EgressMinburst),
  };
}

function limit(rate: bigint, burst: bigint, peakRate: bigint, minBurst: bigint): BandwidthLimit | null {
  return rate === 0n ? null : { rate, burst, peakRate, minBurst };
}
