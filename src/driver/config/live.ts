// What a later ConfigUpdate may change while the driver runs: four keys. Felix restarts itself for every other one
// (felix/daemon/daemon.go), so another change can only come from a different control plane and needs a restart of ours.
import type { DataplaneConfig } from '../../model/config.js';
import type { LiveConfig, ParsedConfig } from './config.js';

/** Names of the parameters that are applied without a restart. */
export const LIVE_PARAMETERS = ['CalicoVersion', 'ClusterGUID', 'ClusterType', 'HealthTimeoutOverrides'] as const;

/** Outcome of comparing two configurations. */
export interface LiveChange {
  /** The configuration in force with the live keys replaced; everything else as it was. */
  readonly config: DataplaneConfig;
  readonly live: LiveConfig;
  /** Live parameters that changed. */
  readonly applied: readonly string[];
  /** Other parameters whose parsed value changed: not applied; a restart is needed for them. */
  readonly needRestart: readonly string[];
}

/** A comparable text of any parsed value. */
function fingerprint(value: unknown): string {
  return JSON.stringify(value instanceof Map ? [...value].sort(([a], [b]) => (a < b ? -1 : 1)) : value);
}

/**
 * Compares the configuration in force with a later one. Values are compared after parsing: `60` and `60.0` are the same. The OpenStack
 * decision stays as it was at start even if ClusterType changes, as in Felix.
 */
export function diffLive(old: ParsedConfig, later: ParsedConfig): LiveChange {
  const before = new Map<string, unknown>(Object.entries(old.resolution.values));
  const changed = Object.entries(later.resolution.values)
    .filter(([name, value]) => fingerprint(before.get(name)) !== fingerprint(value))
    .map(([name]) => name);
  const isLive = (name: string): boolean => LIVE_PARAMETERS.some((live) => live === name);
  return {
    config: { ...old.config, clusterType: later.config.clusterType },
    live: later.live,
    applied: changed.filter(isLive),
    needRestart: changed.filter((name) => !isLive(name)),
  };
}
