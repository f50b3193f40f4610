// Brings the counts of the transports into the metrics, at scrape time.
import type { Metrics } from '../metrics/metrics.js';
import type { TransportCounters } from '../transport/session.js';

/** Registers the bridge; `counters` are those that all connections of the process count into. */
export function bridgeTransportCounters(metrics: Metrics, counters: TransportCounters): void {
  metrics.beforeScrape(() => {
    metrics.replace('felix_driver_frames', [
      { labels: { direction: 'in' }, value: counters.framesIn },
      { labels: { direction: 'out' }, value: counters.framesOut },
    ]);
    metrics.replace('felix_driver_bytes', [
      { labels: { direction: 'in' }, value: counters.bytesIn },
      { labels: { direction: 'out' }, value: counters.bytesOut },
    ]);
    metrics.replace('felix_driver_read_pauses', [{ labels: {}, value: counters.pauses }]);
    metrics.replace('felix_driver_statuses_replaced', [{ labels: {}, value: counters.statusesReplaced }]);
    const { unknownPayloads, invalidMessages, legacyMessages, unknownFields } = counters.decode;
    metrics.replace('felix_driver_messages_skipped', [
      { labels: { reason: 'unknown' }, value: unknownPayloads },
      { labels: { reason: 'invalid' }, value: invalidMessages },
    ]);
    metrics.replace('felix_driver_legacy_messages', [{ labels: {}, value: legacyMessages }]);
    metrics.replace('felix_driver_unknown_fields', [{ labels: {}, value: unknownFields }]);
  });
}
