// Random resources given to a real Felix and to the mock control plane: what each has told its driver after a step has
// to be the same, and of the first stream, up to InSync, message for message.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { silentLogger } from '../../src/base/logger.js';
import { MockControlPlane } from '../../src/mock/control-plane.js';
import { documentOf } from '../../src/mock/documents.js';
import { findKind } from '../../src/mock/resources/registry.js';
import { ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { objectKey } from '../../src/protocol/keys.js';
import type { ToDataplanePayload } from '../../src/protocol/session.js';
import { STREAM_FILE } from '../../src/transport/recording.js';
import { redact } from '../../src/transport/redaction.js';
import { canonical } from '../fixtures/canonical.js';
import { splitFrames } from '../fixtures/recording.js';
import { waitFor } from '../kernel/support/driver-process.js';
import { FelixNode } from './felix-node.js';
import { Dice, HOST_SCRIPT, RandomCluster, randomParameters } from './random-resources.js';
import { INITIAL, NAMESPACED, type Resource } from './resources.js';
import type { RunOptions } from './run-options.js';
import { missingTraces, SENTINEL_LINK, sentinels } from './sentinel.js';

const STEPS = 6;
const STREAM_PATIENCE_MS = 8_000;

/** What a driver knows after a stream: the last word on each object, sets with their members. */
function knowledge(payloads: readonly ToDataplanePayload[]): Map<string, string> {
  const known = new Map<string, string>();
  const members = new Map<string, Set<string>>();
  for (const payload of payloads) {
    const { kind, id } = objectKey(payload);
    const key = `${kind} ${id.replaceAll('\0', '/')}`;
    if (payload.case === 'ipsetDeltaUpdate') {
      for (const member of payload.value.removedMembers) members.get(key)?.delete(member);
      for (const member of payload.value.addedMembers) members.get(key)?.add(member);
    } else if (payload.case.endsWith('Remove')) {
      known.delete(key);
      members.delete(key);
    } else if (payload.case === 'ipsetUpdate') {
      members.set(key, new Set(payload.value.members));
      known.set(key, String(payload.value.type));
    } else known.set(key, canonical(payload));
  }
  for (const [key, set] of members) known.set(key, `${known.get(key)} ${[...set].sort().join(' ')}`);
  return known;
}

function differences(felix: ReadonlyMap<string, string>, mock: ReadonlyMap<string, string>): string[] {
  return [...new Set([...felix.keys(), ...mock.keys()])]
    .filter((key) => felix.get(key) !== mock.get(key))
    .map((key) => `${key}\n  - ${felix.get(key) ?? 'nothing'}\n  + ${mock.get(key) ?? 'nothing'}`);
}

/** Messages that one stream has and the other has not, `-` for Felix's. */
function messageDifferences(felix: readonly string[], mock: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const text of felix) counts.set(text, (counts.get(text) ?? 0) - 1);
  for (const text of mock) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].filter(([, count]) => count !== 0).map(([text, count]) => `${count < 0 ? '-' : '+'} ${text}`);
}

/** The mock, fed as an etcd is. */
class FedMock {
  readonly #mock: MockControlPlane;
  readonly sent: ToDataplanePayload[] = [];
  readonly problems: string[] = [];

  constructor(settings: Readonly<Record<string, string>>) {
    const config = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name.toLowerCase(), value]));
    this.#mock = new MockControlPlane({ hostname: 'node1', config, log: silentLogger });
  }

  apply(resources: readonly Resource[]): void {
    const { problems } = this.#mock.apply(resources.map((resource) => documentOf(resource, 'etcd')));
    this.problems.push(...problems.map((problem) => JSON.stringify(problem)));
  }

  delete(resources: readonly Resource[]): void {
    for (const { kind, metadata } of resources) {
      const api = findKind(kind, undefined)?.api;
      if (api === undefined) throw new Error(`unknown kind ${kind}`);
      const namespace = NAMESPACED.includes(kind) ? (metadata.namespace ?? 'default') : '';
      this.#mock.delete({ api, kind, namespace, name: metadata.name });
    }
  }

  flush(): ToDataplanePayload[] {
    const sent = this.#mock.flush().map(redact);
    this.sent.push(...sent);
    return sent;
  }
}

function recorded(node: FelixNode): ToDataplanePayload[] {
  return splitFrames(readFileSync(join(node.recording, STREAM_FILE))).flatMap((frame) => {
    const { payload } = fromBinary(ToDataplaneSchema, frame);
    return payload.case === undefined ? [] : [payload];
  });
}

/** Waits until Felix's stream says what the mock says; else how they differ. */
async function compared(node: FelixNode, mock: FedMock): Promise<string[]> {
  let found: string[] = [];
  try {
    await waitFor(
      () => {
        found = differences(knowledge(recorded(node)), knowledge(mock.sent));
        return found.length === 0;
      },
      () => 'different',
      STREAM_PATIENCE_MS,
    );
  } catch {
    return found;
  }
  return [];
}

async function mockRun(seed: number, { felix, mode }: RunOptions): Promise<string[]> {
  const dice = new Dice(seed);
  const parameters = randomParameters(dice);
  const cluster = new RandomCluster(dice);
  const node = await FelixNode.create(`${HOST_SCRIPT}\n${SENTINEL_LINK}`);
  try {
    let mock: FedMock | null = null;
    const first = cluster.first();
    await node.apply([...INITIAL, ...first.apply]);
    const known = [...INITIAL, ...first.apply];
    for (let step = 1; step <= STEPS; step += 1) {
      const change = cluster.next();
      const apply = [...change.apply, ...sentinels(step)];
      await node.apply(apply);
      await node.delete(change.remove);
      if (mock === null) {
        await node.start({ felix, mode, plane: 'record', parameters });
        mock = new FedMock(node.settings);
        mock.apply(known);
      }
      mock.apply(apply);
      mock.delete(change.remove);
      const sent = mock.flush();
      await waitFor(
        async () => node.restarts > 0 || missingTraces(await node.dump(mode), mode, step).length === 0,
        () => `step ${step} did not come\n${node.felix?.output.slice(-1000)}`,
      );
      if (node.restarts > 0) {
        console.log(`${mode} mock --seed ${seed}: Felix started again in step ${step}, which ends the recording`);
        return [];
      }
      const found = [...mock.problems, ...(await compared(node, mock))];
      if (step === 1 && found.length === 0) {
        const payloads = recorded(node);
        const isSync = (payload: ToDataplanePayload): boolean => payload.case === 'inSync';
        const stream = payloads.slice(0, payloads.findIndex(isSync) + 1).map(canonical);
        // A Felix that had not read all when it first flushed says some things twice.
        const messages = messageDifferences(stream, sent.map(canonical));
        found.push(...messages.filter((text) => text.startsWith('+') && !text.startsWith('+ {"ipset_update"')));
        const said = messages.length === 0 ? 'message for message' : `but for ${messages.length} messages`;
        console.log(`${mode} mock --seed ${seed}: first stream equal ${said}, ${sent.length} messages`);
      }
      if (found.length > 0) return [`step ${step} ${JSON.stringify(parameters)}\n${found.join('\n')}`];
    }
    return [];
  } finally {
    await node.remove();
  }
}

/** Carries out runs with one seed after the other. */
export async function mockRuns(options: RunOptions): Promise<void> {
  const first = Number(options.seed ?? Date.now() % 1_000_000);
  for (let run = 0; run < options.runs; run += 1)
    options.report(`${options.mode} mock --seed ${first + run}`, await mockRun(first + run, options));
}
