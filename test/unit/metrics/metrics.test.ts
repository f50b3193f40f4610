import { describe, expect, it } from 'vitest';
import { mergeExpositions, Metrics } from '../../../src/metrics/metrics.js';
import { SERIES } from '../../../src/metrics/series.js';

/** Names that Felix's dataplane has and the dashboard uses (ops.md section 4), with type and labels. */
const FELIX_SERIES: readonly (readonly [string, string, string])[] = [
  ['felix_int_dataplane_failures', 'counter', ''],
  ['felix_int_dataplane_messages', 'counter', 'type'],
  ['felix_int_dataplane_initial_resync_time_seconds', 'gauge', ''],
  ['felix_int_dataplane_apply_time_seconds', 'summary', ''],
  ['felix_int_dataplane_msg_batch_size', 'summary', ''],
  ['felix_int_dataplane_iface_msg_batch_size', 'summary', ''],
  ['felix_int_dataplane_addr_msg_batch_size', 'summary', ''],
  ['felix_iptables_restore_calls', 'counter', ''],
  ['felix_iptables_restore_errors', 'counter', ''],
  ['felix_iptables_save_calls', 'counter', ''],
  ['felix_iptables_save_errors', 'counter', ''],
  ['felix_iptables_chains', 'gauge', 'ip_version,table'],
  ['felix_iptables_rules', 'gauge', 'ip_version,table'],
  ['felix_iptables_lines_executed', 'counter', 'ip_version,table'],
  ['felix_nft_calls', 'counter', ''],
  ['felix_nft_errors', 'counter', ''],
  ['felix_nft_list_calls', 'counter', ''],
  ['felix_nft_list_errors', 'counter', ''],
  ['felix_nft_chains', 'gauge', 'ip_version'],
  ['felix_nft_rules', 'gauge', 'ip_version'],
  ['felix_nft_maps', 'gauge', 'ip_version'],
  ['felix_nft_sets', 'gauge', 'ip_version'],
  ['felix_nft_set_calls', 'counter', ''],
  ['felix_nft_set_errors', 'counter', ''],
  ['felix_nft_flowtable_devices', 'gauge', 'ip_version'],
  ['felix_nft_flowtable_missing_devices', 'gauge', 'ip_version'],
  ['felix_ipsets_calico', 'gauge', 'ip_version'],
  ['felix_ipsets_total', 'gauge', ''],
  ['felix_ipset_calls', 'counter', ''],
  ['felix_ipset_errors', 'counter', ''],
  ['felix_ipset_lines_executed', 'counter', ''],
  ['felix_exec_time_micros', 'summary', ''],
  ['felix_route_table_num_routes', 'gauge', 'table'],
  ['felix_route_table_num_ifaces', 'gauge', 'table'],
  ['felix_route_table_resync_seconds', 'summary', ''],
  ['felix_route_table_partial_resync_seconds', 'summary', ''],
  ['felix_route_table_conntrack_wait_seconds', 'summary', ''],
  ['wireguard_meta', 'gauge', 'hostname,public_key,iface,listen_port'],
  ['wireguard_latest_handshake_seconds', 'gauge', 'hostname,public_key,peer_key,peer_endpoint'],
  ['wireguard_bytes_sent', 'counter', 'hostname,public_key,peer_key,peer_endpoint'],
  ['wireguard_bytes_rcvd', 'counter', 'hostname,public_key,peer_key,peer_endpoint'],
];

describe('SERIES', () => {
  it('families of Felix, all there with type and labels', () => {
    const ours = Object.entries(SERIES)
      .filter(([name]) => !name.startsWith('felix_driver_'))
      .map(([name, { type, labels }]) => [name, type, labels.join(',')]);
    expect(ours.toSorted()).toEqual(FELIX_SERIES.toSorted());
  });
});

describe('Metrics', () => {
  it('text, before anything is fed, has no family: a zero that nobody counts would look like calm', async () => {
    expect(await new Metrics().text()).toBe('');
  });

  it('text, families that are fed with nothing yet, has zeros for those without labels', async () => {
    const metrics = new Metrics();
    metrics.add('felix_iptables_restore_errors', 0);
    const text = await metrics.text();
    expect(text).toContain('# TYPE felix_iptables_restore_errors counter\nfelix_iptables_restore_errors 0\n');
    expect(text).not.toContain('felix_iptables_save_errors');
    expect(text.endsWith('\n')).toBe(true);
  });

  it('text, after counting, has the values', async () => {
    const metrics = new Metrics();
    metrics.add('felix_ipset_calls', 2);
    metrics.add('felix_int_dataplane_messages', 1, { type: 'IPSetUpdate' });
    metrics.set('felix_iptables_rules', 42, { ip_version: '4', table: 'filter' });
    for (let value = 1; value <= 100; value += 1) metrics.observe('felix_exec_time_micros', value);
    metrics.observe('felix_driver_apply_phase_seconds', 0.5, { phase: 'tables' });
    const text = await metrics.text();
    expect(text).toContain('felix_ipset_calls 2\n');
    expect(text).toContain('felix_int_dataplane_messages{type="IPSetUpdate"} 1\n');
    expect(text).toContain('felix_iptables_rules{ip_version="4",table="filter"} 42\n');
    expect(text).toContain('felix_exec_time_micros_sum 5050\n');
    expect([...text.matchAll(/felix_exec_time_micros\{quantile="([\d.]+)"\}/g)].map((match) => match[1])).toEqual([
      '0.5',
      '0.9',
      '0.99',
    ]);
    expect(text).toContain('felix_driver_apply_phase_seconds_count{phase="tables"} 1\n');
  });

  it('text, more events than wait at once, has them all', async () => {
    const metrics = new Metrics();
    for (let event = 0; event < 13_000; event += 1) {
      metrics.add('felix_ipset_calls', 1);
      metrics.observe('felix_driver_apply_phase_seconds', 2, { phase: event % 2 === 0 ? 'sets' : 'tables' });
      if (event === 500) metrics.catchUp();
    }
    const text = await metrics.text();
    expect(text).toContain('felix_ipset_calls 13000\n');
    expect(text).toContain('felix_driver_apply_phase_seconds_count{phase="sets"} 6500\n');
    expect(text).toContain('felix_driver_apply_phase_seconds_sum{phase="tables"} 13000\n');
  });

  it('replace, a counter that was counted up before, has the totals only', async () => {
    const metrics = new Metrics();
    metrics.add('felix_driver_frames', 3, { direction: 'out' });
    metrics.replace('felix_driver_frames', [{ labels: { direction: 'in' }, value: 7 }]);
    const text = await metrics.text();
    expect(text).toContain('felix_driver_frames{direction="in"} 7\n');
    expect(text).not.toContain('direction="out"');
  });

  it('replace, totals counted elsewhere, takes the place of all series', async () => {
    const metrics = new Metrics();
    metrics.replace('felix_driver_frames', [
      { labels: { direction: 'in' }, value: 5 },
      { labels: { direction: 'out' }, value: 1 },
    ]);
    metrics.replace('felix_driver_frames', [{ labels: { direction: 'in' }, value: 7 }]);
    const text = await metrics.text();
    expect(text).toContain('felix_driver_frames{direction="in"} 7\n');
    expect(text).not.toContain('direction="out"');
  });

  it('beforeScrape, refreshes before each text', async () => {
    const metrics = new Metrics();
    let depth = 0;
    metrics.beforeScrape(() => metrics.set('felix_driver_queue_depth', (depth += 1)));
    expect(await metrics.text()).toContain('felix_driver_queue_depth 1\n');
    expect(await metrics.text()).toContain('felix_driver_queue_depth 2\n');
  });
});

describe('mergeExpositions', () => {
  const felix = [
    '# HELP felix_active_local_endpoints Number of active endpoints.',
    '# TYPE felix_active_local_endpoints gauge',
    'felix_active_local_endpoints 3',
    '# HELP felix_int_dataplane_apply_time_seconds Time.',
    '# TYPE felix_int_dataplane_apply_time_seconds summary',
    'felix_int_dataplane_apply_time_seconds{quantile="0.5"} NaN',
    'felix_int_dataplane_apply_time_seconds_sum 0',
    'felix_int_dataplane_apply_time_seconds_count 0',
    '# HELP felix_ipset_calls Calls.',
    '# TYPE felix_ipset_calls counter',
    'felix_ipset_calls 0',
    '# HELP felix_calc_graph_update_time_seconds Time.',
    '# TYPE felix_calc_graph_update_time_seconds histogram',
    'felix_calc_graph_update_time_seconds_bucket{le="+Inf"} 9',
    'felix_calc_graph_update_time_seconds_sum 1',
    'felix_calc_graph_update_time_seconds_count 9',
    '# HELP wireguard_meta Wireguard.',
    '# TYPE wireguard_meta gauge',
    'wireguard_meta{iface="wireguard.cali"} 1',
    'go_goroutines 12',
    '',
  ].join('\n');

  it('families of both, ours count; all others of Felix stay as they are', async () => {
    const metrics = new Metrics();
    metrics.add('felix_ipset_calls', 8);
    metrics.observe('felix_int_dataplane_apply_time_seconds', 0.5);
    const merged = mergeExpositions(felix, await metrics.text());
    expect(merged.match(/^felix_ipset_calls .*$/gm)).toEqual(['felix_ipset_calls 8']);
    expect(merged.match(/^# TYPE felix_int_dataplane_apply_time_seconds /gm)).toHaveLength(1);
    expect(merged).not.toContain('NaN');
    for (const line of felix.split('\n').filter((one) => /local_endpoints|calc_graph|go_|wireguard/.test(one))) {
      expect(merged).toContain(`${line}\n`);
    }
  });

  it('family of both that we have no series of, stays Felix’s', () => {
    expect(mergeExpositions(felix, '')).toContain('wireguard_meta{iface="wireguard.cali"} 1\n');
  });

  it('no text of Felix, gives ours', async () => {
    const ours = await new Metrics().text();
    expect(mergeExpositions('', ours)).toBe(ours);
  });
});
