// Watching a session: a snapshot and then what comes, the same state as the stream makes, no secrets, and never a wait.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { FrameDecoder } from '../../../src/protocol/frame.js';
import {
  ConfigUpdateSchema,
  InSyncSchema,
  IPSetDeltaUpdateSchema,
  IPSetRemoveSchema,
  NamespaceRemoveSchema,
  NamespaceUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { ToDataplaneDecoder } from '../../../src/protocol/messages.js';
import type { CloseReason, Session, ToDataplanePayload } from '../../../src/protocol/session.js';
import { MessageStore } from '../../../src/transport/message-store.js';
import { endOf, type ObserverEnd, ObserverHub } from '../../../src/transport/observers.js';
import { ipset } from './contract.js';

const config: ToDataplanePayload = {
  case: 'configUpdate',
  value: create(ConfigUpdateSchema, { config: { EtcdPassword: 'hunter2', MTUIfacePattern: '^e' } }),
};
const inSync: ToDataplanePayload = { case: 'inSync', value: create(InSyncSchema) };
const delta = (id: string, addedMembers: string[], removedMembers: string[]): ToDataplanePayload => ({
  case: 'ipsetDeltaUpdate',
  value: create(IPSetDeltaUpdateSchema, { id, addedMembers, removedMembers }),
});
const namespace = (name: string, padding = ''): ToDataplanePayload => ({
  case: 'namespaceUpdate',
  value: create(NamespaceUpdateSchema, { id: { name }, labels: { padding } }),
});

/** A session that a test speaks for. */
class SpokenSession implements Session {
  readonly description = 'spoken';
  readonly sendBacklog = 0;
  readonly closed: Promise<CloseReason>;
  #end: (reason: CloseReason) => void = () => undefined;
  #handler: (payload: ToDataplanePayload, origin: { sequence: bigint; sizeBytes: number }) => void = () => undefined;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  start(handler: (payload: ToDataplanePayload, origin: { sequence: bigint; sizeBytes: number }) => void): void {
    this.#handler = handler;
  }
  say(payload: ToDataplanePayload, sizeBytes = 10): void {
    this.#handler(payload, { sequence: 0n, sizeBytes });
  }
  pause(): void {
    return;
  }
  resume(): void {
    return;
  }
  send(): void {
    return;
  }
  close(): Promise<void> {
    this.#end({ kind: 'eof' });
    return Promise.resolve();
  }
}

/** A recorder, as far as the socket goes. */
class Watcher {
  readonly received: ToDataplanePayload[] = [];
  readonly end: Promise<ObserverEnd>;
  readonly socket: Socket;

  constructor(path: string) {
    this.socket = connect(path);
    const [frames, messages] = [new FrameDecoder(), new ToDataplaneDecoder()];
    this.end = new Promise((resolve) => {
      this.socket.on('data', (chunk: Buffer) => {
        frames.push(chunk, ({ bytes, sequence, offset }) => {
          const end = endOf(bytes);
          if (end !== null) resolve(end);
          else
            this.received.push(
              ...[messages.decode(bytes, sequence, offset)?.payload].filter((one) => one !== undefined),
            );
        });
      });
    });
  }

  async atLeast(count: number): Promise<string[]> {
    while (this.received.length < count) await new Promise((resolve) => setImmediate(resolve));
    return this.received.map((payload) => payload.case);
  }
}

describe('MessageStore', () => {
  it('gives the last word on each object, references first, and nothing that was taken back', () => {
    const store = new MessageStore();
    const said = [
      ...[config, namespace('a'), namespace('b', 'old'), ipset('s', ['1', '2']), ipset('t', ['9']), inSync],
      ...[namespace('b', 'new'), delta('s', ['3'], ['1'])],
      { case: 'namespaceRemove', value: create(NamespaceRemoveSchema, { id: { name: 'a' } }) } as const,
      { case: 'ipsetRemove', value: create(IPSetRemoveSchema, { id: 't' }) } as const,
    ];
    for (const payload of said) store.add(payload);
    const snapshot = store.snapshot();
    expect(snapshot.map((payload) => payload.case)).toEqual([
      'configUpdate',
      'ipsetUpdate',
      'namespaceUpdate',
      'inSync',
    ]);
    expect(snapshot[1]).toMatchObject({ value: { id: 's', members: ['2', '3'] } });
    expect(snapshot[2]).toMatchObject({ value: { labels: { padding: 'new' } } });
  });

  it('folds changes of a set in, so that they do not pile up', () => {
    const store = new MessageStore();
    store.add(ipset('s', ['0']));
    for (let round = 0; round < 20_000; round += 1) store.add(delta('s', [`m${round}`], [`m${round - 1}`]));
    expect(store.snapshot()[0]).toMatchObject({ value: { members: ['0', 'm19999'] } });
  });
});

describe('ObserverHub', () => {
  let folder: string;
  let path: string;
  let hub: ObserverHub;
  let session: SpokenSession;
  const heard: string[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fdp-observe-'));
    path = join(folder, 'observe.sock');
    heard.length = 0;
    session = new SpokenSession();
    hub = new ObserverHub({ logger: silentLogger, maxWaitingBytes: 1_000_000 });
    await hub.listen(path);
    hub.watch(session).start((payload) => void heard.push(payload.case));
  });
  afterEach(() => {
    hub.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('gives a newcomer the snapshot, then each message, without secrets; the end is said', async () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const payload of [config, namespace('a'), ipset('s', ['1']), inSync]) session.say(payload);
    const watcher = new Watcher(path);
    expect(await watcher.atLeast(4)).toEqual(['configUpdate', 'ipsetUpdate', 'namespaceUpdate', 'inSync']);
    expect(watcher.received[0]).toMatchObject({
      value: { config: { EtcdPassword: '<redacted>', MTUIfacePattern: '^e' } },
    });
    session.say(delta('s', ['2'], []));
    expect((await watcher.atLeast(5)).at(-1)).toBe('ipsetDeltaUpdate');
    await session.close();
    expect(await watcher.end).toMatchObject({ kind: 'over', text: expect.stringContaining('control plane is gone') });
  });

  it('gives who comes first the next session from its beginning', async () => {
    await session.close();
    const next = new SpokenSession();
    const watcher = new Watcher(path);
    await new Promise((resolve) => watcher.socket.once('connect', resolve));
    hub.watch(next).start(() => undefined);
    for (const payload of [config, inSync]) next.say(payload);
    expect(await watcher.atLeast(2)).toEqual(['configUpdate', 'inSync']);
  });

  it('drops a watcher that does not read, tells it so, and the session never waits', async () => {
    session.say(config);
    const watcher = new Watcher(path);
    await watcher.atLeast(1);
    watcher.socket.pause();
    const padding = 'x'.repeat(10_000);
    for (let round = 0; round < 500; round += 1) {
      session.say(namespace('a', padding), padding.length);
      if (round % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(heard).toHaveLength(501);
    watcher.socket.resume();
    expect(await watcher.end).toMatchObject({ kind: 'dropped', text: expect.stringContaining('too slowly') });
    expect(watcher.received.length).toBeLessThan(501);
  });
});
