// The table of every series that the driver exposes: names, types and labels are Felix's where Felix's own dataplane
// has the series (ops.md section 4), and begin with felix_driver_ where it has not.

/** One family of series. */
export interface SeriesDefinition {
  readonly type: 'counter' | 'gauge' | 'summary';
  readonly help: string;
  readonly labels: readonly string[];
}

function counter<const L extends readonly string[]>(help: string, ...labels: L) {
  return { type: 'counter', help, labels } as const;
}

function gauge<const L extends readonly string[]>(help: string, ...labels: L) {
  return { type: 'gauge', help, labels } as const;
}

function summary<const L extends readonly string[]>(help: string, ...labels: L) {
  return { type: 'summary', help, labels } as const;
}

/** Families by name. Counters have no `_total` suffix: Felix's have none. */
export const SERIES = {
  felix_int_dataplane_failures: counter('Applies that left something undone and are tried again.'),
  felix_int_dataplane_messages: counter('Messages of the control plane, by type.', 'type'),
  felix_int_dataplane_initial_resync_time_seconds: gauge('Seconds from start to the first complete apply.'),
  felix_int_dataplane_apply_time_seconds: summary('Seconds that an apply takes; the first one is left out.'),
  felix_int_dataplane_msg_batch_size: summary('Messages covered by one apply.'),
  felix_int_dataplane_iface_msg_batch_size: summary('Interface state events covered by one apply.'),
  felix_int_dataplane_addr_msg_batch_size: summary('Interface address events covered by one apply.'),

  felix_iptables_restore_calls: counter('Calls of iptables-restore.'),
  felix_iptables_restore_errors: counter('Failed calls of iptables-restore.'),
  felix_iptables_save_calls: counter('Calls of iptables-save.'),
  felix_iptables_save_errors: counter('Failed calls of iptables-save.'),
  felix_iptables_chains: gauge('Chains wanted in the kernel.', 'ip_version', 'table'),
  felix_iptables_rules: gauge('Rules wanted in the kernel.', 'ip_version', 'table'),
  felix_iptables_lines_executed: counter('Lines fed to iptables-restore.', 'ip_version', 'table'),

  felix_nft_calls: counter('nft transactions that write rules.'),
  felix_nft_errors: counter('Failed nft transactions that write rules.'),
  felix_nft_list_calls: counter('nft listings.'),
  felix_nft_list_errors: counter('Failed nft listings.'),
  felix_nft_chains: gauge('Chains wanted in the nft table.', 'ip_version'),
  felix_nft_rules: gauge('Rules wanted in the nft table.', 'ip_version'),
  felix_nft_maps: gauge('Maps wanted in the nft table.', 'ip_version'),
  felix_nft_sets: gauge('Sets wanted in the nft table.', 'ip_version'),
  felix_nft_set_calls: counter('nft transactions that write sets.'),
  felix_nft_set_errors: counter('Failed nft transactions that write sets.'),
  felix_nft_flowtable_devices: gauge('Devices of the flow table.', 'ip_version'),
  felix_nft_flowtable_missing_devices: gauge('Devices wanted in the flow table that do not exist.', 'ip_version'),

  felix_ipsets_calico: gauge('IP sets wanted in the kernel.', 'ip_version'),
  felix_ipsets_total: gauge('IP sets in the kernel, anybody’s.'),
  felix_ipset_calls: counter('Calls of ipset.'),
  felix_ipset_errors: counter('Failed calls of ipset.'),
  felix_ipset_lines_executed: counter('Lines fed to ipset.'),
  felix_exec_time_micros: summary('Microseconds that starting a command takes.'),

  felix_route_table_num_routes: gauge('Routes wanted in a table.', 'table'),
  felix_route_table_num_ifaces: gauge('Interfaces watched for a table.', 'table'),
  felix_route_table_resync_seconds: summary('Seconds to read all routes of a table.'),
  felix_route_table_partial_resync_seconds: summary('Seconds to read the routes of one interface.'),
  felix_route_table_conntrack_wait_seconds: summary('Seconds that a route waited for conntrack entries to go.'),

  wireguard_meta: gauge('Wireguard devices; always 1.', 'hostname', 'public_key', 'iface', 'listen_port'),
  wireguard_latest_handshake_seconds: gauge(
    'Unix time of the latest handshake with a peer.',
    'hostname',
    'public_key',
    'peer_key',
    'peer_endpoint',
  ),
  wireguard_bytes_sent: counter('Bytes sent to a peer.', 'hostname', 'public_key', 'peer_key', 'peer_endpoint'),
  wireguard_bytes_rcvd: counter('Bytes received from a peer.', 'hostname', 'public_key', 'peer_key', 'peer_endpoint'),

  felix_driver_build_info: gauge('Version of the driver; always 1.', 'version', 'node_version', 'backend'),
  felix_driver_start_time_seconds: gauge('Unix time at which the driver started.'),
  felix_driver_resident_memory_bytes: gauge('Resident memory of the driver.'),
  felix_driver_event_loop_delay_seconds: gauge('Delay of the event loop since the last scrape.', 'quantile'),
  felix_driver_session_connected: gauge('1 while a control plane is connected.'),
  felix_driver_sessions: counter('Control planes that connected.'),
  felix_driver_frames: counter('Messages over the transport, by direction (in, out).', 'direction'),
  felix_driver_bytes: counter('Bytes of messages over the transport, by direction (in, out).', 'direction'),
  felix_driver_messages_skipped: counter('Messages that could not be acted on (unknown, invalid).', 'reason'),
  felix_driver_messages_merged: counter('Messages merged away because a newer one of the same object came.'),
  felix_driver_legacy_messages: counter('Messages in an older encoding.'),
  felix_driver_unknown_fields: counter('Fields of messages that the driver does not know.'),
  felix_driver_read_pauses: counter('Times that reading stopped because too much waited.'),
  felix_driver_statuses_replaced: counter('Statuses replaced by newer ones before the control plane read them.'),
  felix_driver_queue_depth: gauge('Objects that wait for the next apply.'),
  felix_driver_queue_bytes: gauge('Bytes of messages that wait for the next apply.'),
  felix_driver_send_backlog: gauge('Statuses that wait for the control plane to read.'),
  felix_driver_applies: counter('Applies by outcome (clean, incomplete).', 'outcome'),
  felix_driver_apply_phase_seconds: summary('Seconds that a phase of an apply takes.', 'phase'),
  felix_driver_last_good_apply_age_seconds: gauge('Seconds since the last complete apply; -1 before the first.'),
  felix_driver_in_sync: gauge('1 once an apply has left nothing undone.'),
  felix_driver_operations: counter('Writes to the host, by room and verb.', 'room', 'verb'),
  felix_driver_tool_calls: counter('Commands started, by program.', 'tool'),
  felix_driver_tool_errors: counter('Commands that failed, by program.', 'tool'),
  felix_driver_refusals: gauge('Objects that can not be programmed and are closed instead.', 'ip_version', 'kind'),
  felix_driver_config_warnings: gauge('Parameters with a value that is not used as written.'),
} as const satisfies Readonly<Record<string, SeriesDefinition>>;

/** Any family. */
export type SeriesName = keyof typeof SERIES;

type NamesOfType<T extends SeriesDefinition['type']> = {
  [Name in SeriesName]: (typeof SERIES)[Name]['type'] extends T ? Name : never;
}[SeriesName];

export type CounterName = NamesOfType<'counter'>;
export type GaugeName = NamesOfType<'gauge'>;
export type SummaryName = NamesOfType<'summary'>;

/** Labels of a family, all of them required. */
export type LabelsOf<Name extends SeriesName> = Readonly<Record<(typeof SERIES)[Name]['labels'][number], string>>;
