// What the driver leaves for others on the host: endpoint status files for the CNI plugin, and the MTU file.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { loadRecording } from '../fixtures/recording.js';
import { DriverProcess, waitFor } from './support/driver-process.js';
import { createNamespace } from './support/namespace.js';
import { recordingFrames } from './support/replay.js';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Files of the status folder, but for one that is being written and has no name of its own yet. */
function files(driver: DriverProcess): string[] {
  try {
    const names = readdirSync(join(driver.stateFolder, 'endpoint-status'));
    return names.filter((name) => !name.startsWith('.')).sort();
  } catch {
    return [];
  }
}

describe('host files', () => {
  test('status files stand while endpoints are up, with the content that Felix writes, and the MTU file is written', async () => {
    const namespace = await createNamespace('files');
    cleanups.push(() => namespace.remove());
    const recording = loadRecording('pod-lifecycle');
    await namespace.shell(recording.hostScript);
    const driver = new DriverProcess(namespace);
    cleanups.push(() => driver.stop());
    const frames = recordingFrames(recording, 'nftables');
    const podsUp = recording.steps.steps[1]?.frames;
    driver.send(frames.slice(0, podsUp));
    const describeFiles = (): string => `${files(driver).join(', ')}\n${driver.rawOutput}`;
    await waitFor(() => files(driver).length === 2, describeFiles);
    // orchestrator, workload and endpoint id, each path-escaped, joined by a space (ops.md section 3).
    expect(files(driver)).toEqual(['k8s default%2Fpod1 eth0', 'k8s default%2Fpod2 eth0']);
    const text = readFileSync(join(driver.stateFolder, 'endpoint-status', 'k8s default%2Fpod1 eth0'), 'utf8');
    expect(JSON.parse(text)).toEqual({ ifaceName: 'cali1', mac: 'ee:ee:ee:ee:ee:01', ipv4Nets: ['10.65.0.2/32'] });
    // eth0 has 1500, and no tunnel takes anything away (dataplane.md 2.7).
    expect(readFileSync(join(driver.stateFolder, 'mtu'), 'utf8')).toBe('1500');
    await namespace.run(['ip', 'link', 'set', 'pcali1', 'down']);
    await waitFor(() => files(driver).length === 1, describeFiles);
    driver.send(frames.slice(podsUp));
    await waitFor(() => files(driver).length === 0, describeFiles);
  });
});
