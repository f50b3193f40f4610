// No parameter is parsed and then ignored: each field of the typed configuration is read by some room, or stands below
// with the reason why nobody reads it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testConfig } from '../../fakes/config.js';

const SOURCE = new URL('../../../src/', import.meta.url).pathname;

/** Checked and compared like all others (a change of one restarts Felix), but without an effect on this dataplane. */
const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  endpointReportingEnabled: 'Felix reports endpoints to the datastore from our statuses',
  healthEnabled: 'Felix serves its health; ours is an option of the process',
  netlinkTimeoutMs: 'the kernel answers our requests before it returns from them: nothing is waited for',
  prometheusMetricsEnabled: 'Felix serves its metrics; ours are an option of the process',
  routeSource: 'decides in the calculation graph what RouteUpdates are sent',
  workloadSourceSpoofing: 'the calculation graph withholds endpoints that it forbids',
};

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

it('every field of the configuration has a reader, or a reason not to have one', () => {
  const readers = sourceFiles(SOURCE)
    .filter((path) => !/\/(?:driver\/config|mock|model|protocol\/gen)\//.test(path))
    .map((path) => readFileSync(path, 'utf8'))
    .join('\n');
  const unread = Object.keys(testConfig()).filter((name) => !new RegExp(`\\b${name}\\b`).test(readers));
  expect(unread.sort()).toEqual(Object.keys(WITHOUT_EFFECT));
});
