import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { parseConfig } from '../../../src/driver/config/config.js';
import { PARAMETERS } from '../../../src/driver/config/parameters.js';
import {
  ConfigUpdateSchema,
  InSyncSchema,
  WorkloadEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { FromDataplanePayload, Session, ToDataplanePayload } from '../../../src/protocol/session.js';
import { MemoryHub, dial, listen as listenInMemory } from '../../../src/transport/memory.js';
import { listen, openRecording, ReplaySession } from '../../../src/transport/recording.js';
import { recordSession, RecordingWriter } from '../../../src/transport/recording-writer.js';
import { redact } from '../../../src/transport/redaction.js';
import { loadRecording, recordingNames } from '../../fixtures/recording.js';
import { Collector, heartbeat, ipset } from './contract.js';

const logger = silentLogger;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-recording-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Unpacks a recording of the fixtures the way it lay in its folder. */
function unpack(name: string): string {
  const target = join(folder, name);
  mkdirSync(target);
  const { stream, steps } = loadRecording(name);
  writeFileSync(join(target, 'stream.bin'), stream);
  writeFileSync(join(target, 'steps.json'), JSON.stringify(steps));
  return target;
}

function replay(target: string, onAnswer: (payload: FromDataplanePayload) => void = () => undefined) {
  const collector = new Collector<ToDataplanePayload>();
  const session = listen({ folder: target, logger, onAnswer }, (accepted) => accepted.start(collector.handler));
  return { session, messages: collector.received };
}

const inSync: ToDataplanePayload = { case: 'inSync', value: create(InSyncSchema) };

describe('openRecording', () => {
  it.each(recordingNames())('recording %s, has its steps and frames', (name) => {
    const { steps } = loadRecording(name);
    const recording = openRecording(unpack(name));
    expect(recording.steps).toEqual(steps.steps.map(({ name: step, frames }) => ({ name: step, frames })));
    expect(recording.frameCount).toBe(recording.steps.at(-1)?.frames);
    expect([...recording.messages()].map(({ sequence }) => sequence)).toEqual([...Array(recording.frameCount).keys()]);
  });

  it('frames after the last step, are a step of their own; a cut last frame is left out', () => {
    const target = unpack('pod-lifecycle');
    const all = openRecording(target);
    const stream = readFileSync(join(target, 'stream.bin'));
    writeFileSync(join(target, 'stream.bin'), stream.subarray(0, -1));
    writeFileSync(join(target, 'steps.json'), '{"steps": [{"name": "first", "frames": 5}]}');
    expect(openRecording(target).steps).toEqual([
      { name: 'first', frames: 5 },
      { name: 'rest', frames: all.frameCount - 1 },
    ]);
  });

  it.each([
    ['not there', null, 'ENOENT'],
    ['steps that are no JSON', '{', 'not JSON'],
    ['no steps', '{}', 'no list "steps"'],
    ['step without name', '{"steps": [{"frames": 1}]}', 'needs a name'],
    ['step beyond the stream', '{"steps": [{"name": "a", "frames": 1000000}]}', 'needs a name'],
    ['steps that go back', '{"steps": [{"name": "a", "frames": 3}, {"name": "b", "frames": 2}]}', 'from 3'],
  ])('%s, is refused', (_, steps, problem) => {
    const target = unpack('pod-lifecycle');
    if (steps === null) rmSync(join(target, 'stream.bin'));
    else writeFileSync(join(target, 'steps.json'), steps);
    expect(() => openRecording(target)).toThrow(problem);
  });

  it('stream of garbage, is refused with its place', () => {
    const target = unpack('pod-lifecycle');
    writeFileSync(join(target, 'stream.bin'), 'garbage, not frames');
    expect(() => openRecording(target)).toThrow('Frame 0 at byte 0');
  });
});

describe('ReplaySession', () => {
  it('playStep, plays exactly the messages of each step, then no more', async () => {
    const { session, messages } = replay(unpack('pod-lifecycle'));
    const { steps } = loadRecording('pod-lifecycle');
    expect(messages).toHaveLength(0);
    for (const { name, frames } of steps.steps) {
      expect(await session.playStep()).toEqual({ name, frames });
      expect(messages).toHaveLength(frames);
    }
    expect(await session.playStep()).toBeNull();
    session.end();
    expect(await session.closed).toEqual({ kind: 'eof' });
  });

  it('pause, stops between two messages until resumed', async () => {
    const recording = openRecording(unpack('pod-lifecycle'));
    const session = new ReplaySession(recording, { logger }, () => undefined);
    let count = 0;
    session.start(() => {
      count += 1;
      if (count === 2) session.pause('two are enough');
    });
    const played = session.playStep();
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(count).toBe(2);
    session.resume();
    await played;
    expect(count).toBe(recording.steps[0]?.frames);
  });

  it('send, hands answers on until it is closed', async () => {
    const answers: string[] = [];
    const { session } = replay(unpack('pod-lifecycle'), (payload) => answers.push(payload.case));
    session.send(heartbeat);
    await session.close();
    session.send(heartbeat);
    expect(answers).toEqual(['processStatusUpdate']);
    expect(await session.playStep()).toBeNull();
  });
});

describe('RecordingWriter', () => {
  it('messages and steps, come back when read', () => {
    const target = join(folder, 'new');
    const writer = new RecordingWriter({ folder: target, description: 'by hand', logger });
    writer.add(ipset('a'));
    writer.add(inSync);
    writer.endStep('first');
    writer.endStep('empty, so left out');
    writer.add(ipset('b'));
    writer.close();
    const recording = openRecording(target);
    expect(recording).toMatchObject({
      description: 'by hand',
      steps: [
        { name: 'first', frames: 2 },
        { name: 'end', frames: 3 },
      ],
    });
    expect(statSync(join(target, 'stream.bin')).mode & 0o777).toBe(0o600);
  });

  it('folder with a recording, is not written over', () => {
    const target = unpack('pod-lifecycle');
    expect(() => new RecordingWriter({ folder: target, description: '', logger })).toThrow('not possible');
  });

  it('size bound, ends the recording with whole frames', () => {
    const target = join(folder, 'small');
    const writer = new RecordingWriter({ folder: target, description: '', logger, maxBytes: 100 });
    for (let index = 0; index < 50; index += 1) writer.add(ipset(`set-${index}`));
    expect(writer.isOpen).toBe(false);
    expect(openRecording(target).frameCount).toBeGreaterThan(2);
    writer.close();
  });

  it('crash before close, leaves a readable recording', () => {
    const target = join(folder, 'crashed');
    const writer = new RecordingWriter({ folder: target, description: '', logger });
    writer.add(ipset('a'));
    cpSync(target, join(folder, 'copy'), { recursive: true });
    expect(openRecording(join(folder, 'copy')).steps).toEqual([{ name: 'rest', frames: 1 }]);
    writer.close();
  });
});

describe('recordSession', () => {
  it('session over memory, goes on as before and is recorded', async () => {
    const target = join(folder, 'live');
    const hub = new MemoryHub();
    const received = new Collector<ToDataplanePayload>();
    let session: Session | undefined;
    await listenInMemory({ hub, logger, takeOver: false }, (accepted) => {
      session = recordSession(accepted, new RecordingWriter({ folder: target, description: 'live', logger }));
      session.start(received.handler);
    });
    const control = await dial({ hub, logger });
    const answers = new Collector<FromDataplanePayload>();
    control.start(answers.handler);
    control.send(ipset('a'));
    control.send(inSync);
    control.send(ipset('b'));
    await received.atLeast(3);
    session?.send(heartbeat);
    await answers.atLeast(1);
    await control.close();
    await session?.closed;
    expect(openRecording(target).steps).toEqual([
      { name: 'in-sync', frames: 2 },
      { name: 'end', frames: 3 },
    ]);
    const { session: again, messages } = replay(target);
    while ((await again.playStep()) !== null);
    expect(messages).toEqual(received.received);
  });
});

describe('redact', () => {
  const texts = {
    EtcdEndpoints: 'https://10.0.0.1:2379',
    EtcdKeyFile: '/etc/secret/key.pem',
    TyphaCN: 'typha',
    SomeApiToken: 'abc',
    DebugMemoryProfilePath: '/home/me/profile',
    ClusterGUID: '1234',
    FlowLogsGoldmaneServer: 'https://me:secret@goldmane:443',
    RequireMTUFile: 'true',
    LogPrefix: 'calico',
  };

  it('configuration, loses secrets, paths and addresses of the datastore in every source', () => {
    const value = create(ConfigUpdateSchema, {
      config: texts,
      sourceToRawConfig: { 5: { source: 'environment variable', config: texts } },
    });
    const redacted = redact({ case: 'configUpdate', value });
    if (redacted.case !== 'configUpdate') throw new Error('wrong payload');
    const expected = {
      EtcdEndpoints: '<redacted>',
      EtcdKeyFile: '<path>',
      TyphaCN: '<redacted>',
      SomeApiToken: '<redacted>',
      DebugMemoryProfilePath: '<path>',
      ClusterGUID: '<redacted>',
      FlowLogsGoldmaneServer: 'https://<redacted>@goldmane:443',
      RequireMTUFile: 'true',
      LogPrefix: 'calico',
    };
    expect(redacted.value.config).toEqual(expected);
    expect(redacted.value.sourceToRawConfig[5]?.config).toEqual(expected);
    expect(value.config).toEqual(texts);
    const options = { before: parseConfig(value, 'n').config, after: parseConfig(redacted.value, 'n').config };
    expect(options.after).toEqual(options.before);
  });

  it('every parameter of the dataplane but the cluster id, keeps its value', () => {
    const config = Object.fromEntries(Object.keys(PARAMETERS).map((name) => [name, 'value']));
    const redacted = redact({ case: 'configUpdate', value: create(ConfigUpdateSchema, { config }) });
    if (redacted.case !== 'configUpdate') throw new Error('wrong payload');
    const changed = Object.entries(redacted.value.config).filter(([, value]) => value !== 'value');
    expect(changed.map(([name]) => name)).toEqual(['ClusterGUID']);
  });

  it('annotations of a workload, lose their values; the rest stays', () => {
    const value = create(WorkloadEndpointUpdateSchema, {
      id: { endpointId: 'eth0' },
      endpoint: { name: 'cali1', annotations: { note: 'password=1234' } },
    });
    const redacted = redact({ case: 'workloadEndpointUpdate', value });
    expect(redacted).toMatchObject({ value: { endpoint: { name: 'cali1', annotations: { note: '<redacted>' } } } });
    expect(value.endpoint?.annotations['note']).toBe('password=1234');
  });
});
