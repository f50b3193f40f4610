// The exposition of a driver at work: every family of ops.md section 4 that its mode has, with Felix's type and labels, and
// values that fit what is in the kernel.
import { request } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SERIES } from '../../src/metrics/series.js';
import { loadRecording, MODES, type Mode } from '../fixtures/recording.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { DriverProcess, waitFor } from './support/driver-process.js';
import { temporaryFolder } from './support/program.js';
import { recordingFrames } from './support/replay.js';

const recording = loadRecording('pod-lifecycle');
const cleanups: (() => unknown)[] = [];
let namespace: Namespace;

beforeEach(async () => {
  namespace = await createNamespace('metrics');
  cleanups.push(() => namespace.remove());
  await namespace.shell(recording.hostScript);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function scrape(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/metrics' }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve(text));
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** The value of a series by its whole name; undefined = there is none. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

/** Families that only some nodes have: flows that went, Wireguard, and those of the other modes. */
function isExpected(name: string, mode: Mode): boolean {
  if (name.startsWith('wireguard_') || name === 'felix_driver_refusals') return false;
  if (/^felix_(iptables_|ipsets_calico)/.test(name)) return mode !== 'nftables';
  return true;
}

test.each(MODES)('in %s has every family of its mode, with type and value', async (mode) => {
  const folder = temporaryFolder();
  cleanups.push(() => folder.remove());
  const socket = join(folder.path, 'health.sock');
  const driver = new DriverProcess(namespace, { DATAPLANE_HEALTH: `unix:${socket}` });
  cleanups.push(() => driver.stop());
  const frames = recordingFrames(recording, mode);
  const first = recording.steps.steps[0]?.frames ?? 0;
  driver.send(frames.slice(0, first));
  await waitFor(
    () => driver.inSync,
    () => driver.transcript(),
  );
  const before = driver.applies;
  driver.send(frames.slice(first, recording.steps.steps[3]?.frames));
  await waitFor(
    () => driver.applies > before,
    () => driver.transcript(),
  );
  const text = await scrape(socket);
  const missing = Object.entries(SERIES)
    .filter(([name]) => isExpected(name, mode))
    .filter(([name, { type }]) => !text.includes(`# TYPE ${name} ${type}\n`))
    .map(([name]) => name);
  expect(missing).toEqual([]);
  const dump = await namespace.run(mode === 'nftables' ? ['nft', 'list', 'table', 'ip', 'calico'] : [`${mode}-save`]);
  if (mode === 'nftables') {
    const chains = [...dump.matchAll(/^\tchain (\S+) \{/gm)].filter(([, name = '']) =>
      /^(raw|mangle|nat|filter)-cali/.test(name),
    );
    expect(valueOf(text, 'felix_nft_chains{ip_version="4"}')).toBe(chains.length);
    expect(valueOf(text, 'felix_nft_rules{ip_version="4"}')).toBe([...dump.matchAll(/comment "cali:/g)].length);
    expect(valueOf(text, 'felix_nft_sets{ip_version="inet"}')).toBe([...dump.matchAll(/^\tset /gm)].length);
    expect(valueOf(text, 'felix_nft_maps{ip_version="inet"}')).toBe([...dump.matchAll(/^\tmap /gm)].length);
    expect(valueOf(text, 'felix_nft_chains{ip_version="arp"}')).toBeGreaterThan(0);
    expect(valueOf(text, 'felix_nft_calls')).toBeGreaterThan(0);
    expect(valueOf(text, 'felix_nft_set_calls')).toBeGreaterThan(0);
  } else {
    const filter = /^\*filter\n([\s\S]*?)^COMMIT/m.exec(dump)?.[1] ?? '';
    const labels = 'ip_version="4",table="filter"';
    expect(valueOf(text, `felix_iptables_chains{${labels}}`)).toBe([...filter.matchAll(/^:cali/gm)].length);
    expect(valueOf(text, `felix_iptables_rules{${labels}}`)).toBe([...filter.matchAll(/--comment "cali:/g)].length);
    const sets = (await namespace.run(['ipset', 'list', '-name']))
      .split('\n')
      .filter((name) => name.startsWith('cali40'));
    expect(valueOf(text, 'felix_ipsets_calico{ip_version="inet"}')).toBe(sets.length);
    expect(valueOf(text, 'felix_iptables_restore_calls')).toBeGreaterThan(0);
  }
  expect(valueOf(text, 'felix_int_dataplane_messages{type="WorkloadEndpointUpdate"}')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_int_dataplane_messages{type="IPAMPoolUpdate"}')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_int_dataplane_iface_msg_batch_size_count')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_route_table_num_routes{table="IPv4:254"}')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_route_table_resync_seconds_count')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_exec_time_micros_count')).toBeGreaterThan(0);
  expect(valueOf(text, 'felix_int_dataplane_failures')).toBe(0);
});
