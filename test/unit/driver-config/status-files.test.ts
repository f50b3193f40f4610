import { create } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { pathEscape } from '../../../src/base/path-escape.js';
import { EndpointStatusFiles, statusFileName, statusFileText } from '../../../src/driver/status-files.js';
import type { HostFiles } from '../../../src/kernel/files.js';
import type { EndpointStatus } from '../../../src/model/status.js';
import { WorkloadEndpointIDSchema, WorkloadEndpointSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { FakeClock } from '../../fakes/clock.js';

const FOLDER = '/run/calico/endpoint-status';

/** A folder in memory that counts writes and can be made to fail. */
class MemoryFiles implements HostFiles {
  readonly texts = new Map<string, string>();
  readonly writes: string[] = [];
  failing = false;
  /** How often a file's stamp was asked for. */
  looks = 0;
  readonly #folders = new Set<string>();

  addFolder(path: string): void {
    this.#folders.add(path);
  }
  read(path: string): Promise<string | null> {
    if (this.#folders.has(path)) return Promise.reject(Object.assign(new Error('is a directory'), { code: 'EISDIR' }));
    return Promise.resolve(this.texts.get(path) ?? null);
  }
  write(): Promise<void> {
    return Promise.reject(new Error('not used'));
  }
  replace(path: string, text: string, mode: number): Promise<void> {
    if (this.failing) return Promise.reject(new Error('no space left'));
    this.writes.push(`write ${path.slice(FOLDER.length + 1)} ${mode.toString(8)}`);
    this.texts.set(path, text);
    return Promise.resolve();
  }
  remove(path: string): Promise<void> {
    if (this.failing) return Promise.reject(new Error('read-only'));
    this.writes.push(`remove ${path.slice(FOLDER.length + 1)}`);
    this.texts.delete(path);
    return Promise.resolve();
  }
  stamp(path: string): Promise<string | null> {
    this.looks += 1;
    return Promise.resolve(this.texts.get(path) ?? null);
  }
  list(path: string): Promise<string[]> {
    const all = [...this.texts.keys(), ...this.#folders];
    return Promise.resolve(
      all.filter((name) => name.startsWith(`${path}/`)).map((name) => name.slice(path.length + 1)),
    );
  }
}

const idOf = (name: string) =>
  create(WorkloadEndpointIDSchema, { orchestratorId: 'k8s', workloadId: `ns/${name}`, endpointId: 'eth0' });
const endpoint = create(WorkloadEndpointSchema, { name: 'cali1', mac: '02:00:00:00:00:01', ipv4Nets: ['10.0.0.1/32'] });

let files: MemoryFiles;
let clock: FakeClock;
let status: EndpointStatusFiles;

async function report(name: string, value: EndpointStatus | null): Promise<void> {
  status.report({ id: idOf(name), status: value, endpoint });
  await status.idle();
}

beforeEach(() => {
  files = new MemoryFiles();
  clock = new FakeClock();
  status = new EndpointStatusFiles({ prefix: '/run/calico', files, clock, logger: silentLogger });
});

describe('pathEscape', () => {
  it.each([
    ['ns/pod', 'ns%2Fpod'],
    ['a b', 'a%20b'],
    ['100%', '100%25'],
    ['ä', '%C3%A4'],
    ["!'()*", '%21%27%28%29%2A'],
    [';,?#', '%3B%2C%3F%23'],
    ['-_.~$&+=:@', '-_.~$&+=:@'],
    ['a\u0000\n', 'a%00%0A'],
  ])('%j becomes %j, as by Go', (text, escaped) => {
    expect(pathEscape(text)).toBe(escaped);
  });
});

describe('statusFileText', () => {
  it('everything set, is the JSON of Go', () => {
    const full = create(WorkloadEndpointSchema, {
      name: 'cali1',
      mac: '02:00:00:00:00:01',
      ipv4Nets: ['10.0.0.1/32', '10.0.0.2/32'],
      ipv6Nets: ['fd00::1/128'],
      localBgpPeer: { bgpPeerName: 'rack<1>&2' },
    });
    expect(statusFileText(full)).toBe(
      '{"ifaceName":"cali1","mac":"02:00:00:00:00:01","ipv4Nets":["10.0.0.1/32","10.0.0.2/32"],"ipv6Nets":["fd00::1/128"],"bgpPeerName":"rack\\u003c1\\u003e\\u00262"}',
    );
  });

  it('nothing set, is an empty object', () => {
    expect(statusFileText(create(WorkloadEndpointSchema, { localBgpPeer: {} }))).toBe('{}');
  });

  it('name, joins the escaped ids by a blank', () => {
    expect(statusFileName(idOf('web-1'))).toBe('k8s ns%2Fweb-1 eth0');
  });
});

describe('EndpointStatusFiles', () => {
  it('report, before in-sync, writes nothing', async () => {
    await report('a', 'up');
    expect(files.writes).toEqual([]);
    status.inSync();
    await status.idle();
    expect(files.writes).toEqual(['write k8s ns%2Fa eth0 644']);
  });

  it('report, up then down, up then error, up then gone, leaves no file', async () => {
    status.inSync();
    for (const end of ['down', 'error', null] as const) {
      await report('a', 'up');
      expect([...files.texts.keys()]).toEqual([`${FOLDER}/k8s ns%2Fa eth0`]);
      await report('a', end);
      expect([...files.texts.keys()]).toEqual([]);
    }
  });

  it('report, same status again, writes nothing', async () => {
    status.inSync();
    await report('a', 'up');
    await report('a', 'up');
    expect(files.writes).toHaveLength(1);
  });

  it('inSync, files of an earlier run, keeps what is right and removes what is stale', async () => {
    files.texts.set(`${FOLDER}/k8s ns%2Fa eth0`, statusFileText(endpoint));
    files.texts.set(`${FOLDER}/k8s ns%2Fold eth0`, '{}');
    files.texts.set(`${FOLDER}/.123.tmp`, '');
    files.addFolder(`${FOLDER}/sub`);
    await report('a', 'up');
    status.inSync();
    await status.idle();
    expect(files.writes.toSorted()).toEqual(['remove .123.tmp', 'remove k8s ns%2Fold eth0']);
  });

  it('relist, file changed and file gone, puts both right after 10 s', async () => {
    status.inSync();
    await report('a', 'up');
    await report('b', 'up');
    files.texts.delete(`${FOLDER}/k8s ns%2Fa eth0`);
    files.texts.set(`${FOLDER}/k8s ns%2Fb eth0`, 'broken');
    files.writes.length = 0;
    await clock.advance(9_999);
    await status.idle();
    expect(files.writes).toEqual([]);
    await clock.advance(1);
    await status.idle();
    expect(files.writes.toSorted()).toEqual(['write k8s ns%2Fa eth0 644', 'write k8s ns%2Fb eth0 644']);
  });

  it('report, in a folder of many files, looks at no other file', async () => {
    status.inSync();
    for (let pod = 0; pod < 100; pod += 1) await report(`pod-${pod}`, 'up');
    files.looks = 0;
    await report('one', 'up');
    expect(files.looks).toBe(0);
  });

  it('relist, 1,000 files, looks at an eighteenth of them, and at all in 180 s', async () => {
    status.inSync();
    for (let pod = 0; pod < 1_000; pod += 1) await report(`pod-${pod}`, 'up');
    // The first look at what was written just now, and the round that it began.
    for (let round = 0; round < 18; round += 1) {
      await clock.advance(10_000);
      await status.idle();
    }
    files.looks = 0;
    await clock.advance(10_000);
    await status.idle();
    expect(files.looks).toBeLessThanOrEqual(Math.ceil(1_000 / 18) + 1);
    files.texts.set(`${FOLDER}/k8s ns%2Fpod-777 eth0`, 'broken');
    files.writes.length = 0;
    for (let round = 0; round < 18; round += 1) {
      await clock.advance(10_000);
      await status.idle();
    }
    expect(files.writes).toEqual(['write k8s ns%2Fpod-777 eth0 644']);
  });

  it('failure, is retried after 50 ms, 500 ms and 5 s, and the file comes when it ends', async () => {
    files.failing = true;
    status.inSync();
    await report('a', 'up');
    const delays: (number | null)[] = [];
    for (let attempt = 0; attempt < 4; attempt += 1) {
      delays.push(clock.nextTimerInMs());
      await clock.advance(clock.nextTimerInMs() ?? 0);
      await status.idle();
    }
    expect(delays).toEqual([50, 500, 5_000, 5_000]);
    files.failing = false;
    await clock.advance(5_000);
    await status.idle();
    expect(files.writes).toEqual(['write k8s ns%2Fa eth0 644']);
  });

  it('stop, leaves the files and writes no more', async () => {
    status.inSync();
    await report('a', 'up');
    await status.stop();
    await report('a', 'down');
    expect(files.texts.size).toBe(1);
  });

  it('empty prefix, never writes', async () => {
    status = new EndpointStatusFiles({ prefix: '', files, clock, logger: silentLogger });
    status.inSync();
    await report('a', 'up');
    expect(files.writes).toEqual([]);
  });
});
