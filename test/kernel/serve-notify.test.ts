// sd_notify of a service, heard by a real datagram socket with a file and by one without.
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import { notifyBy, type ServiceHealth, ServiceNotifier, takeNotifyRequest } from '../../src/cli/service-notify.js';
import { directRunner } from '../../src/kernel/spawn.js';
import { loadRecording } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { createNamespace } from './support/namespace.js';
import { NotifySocket } from './support/notify-socket.js';
import { Program, temporaryFolder } from './support/program.js';
import { recordingFrames } from './support/replay.js';
import { TestControl } from './support/sessions.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folder(): string {
  const made = temporaryFolder();
  cleanups.push(() => made.remove());
  return made.path;
}

function listen(path: string): NotifySocket {
  const socket = new NotifySocket(path);
  cleanups.push(() => socket.close());
  return socket;
}

/** Environments of the processes that a program started. */
function childEnvironments(pid: number): string[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return children.map((child) => readFileSync(`/proc/${child}/environ`, 'utf8'));
}

describe('serve under a service manager', () => {
  test('is ready with its first control plane in sync, gives signs of life, and says that it stops', async () => {
    const namespace = await createNamespace('notify');
    cleanups.push(() => namespace.remove());
    const recording = loadRecording('pod-lifecycle');
    await namespace.shell(recording.hostScript);
    const place = folder();
    const manager = listen(join(place, 'notify.sock'));
    const path = join(place, 'driver.sock');
    const service = new Program(['serve', '--listen', `unix:${path}`], {
      enter: namespace.enter,
      environment: { NOTIFY_SOCKET: join(place, 'notify.sock'), WATCHDOG_USEC: '400000' },
    });
    cleanups.push(() => service.stop());
    await service.logged('felix-dataplane serves');
    const told = (line: string, times = 1): Promise<void> =>
      waitFor(
        () => manager.lines.filter((one) => one === line).length >= times,
        () => `${line} was not said: ${manager.lines.join(', ')}\n${service.transcript()}`,
      );
    await told('WATCHDOG=1', 2);
    expect(manager.lines).toContain('STATUS=no control plane is connected');
    expect(manager.lines).not.toContain('READY=1');
    const control = await TestControl.dial(path);
    cleanups.push(() => control.session.close());
    control.send(recordingFrames(recording, 'nftables').slice(0, recording.steps.steps[0]?.frames));
    await told('READY=1');
    await told('STATUS=in sync');
    const children = childEnvironments(service.pid);
    expect(children.length).toBeGreaterThan(0);
    for (const environment of children) expect(environment).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_/);
    await service.stop();
    await told('STOPPING=1');
    expect(manager.lines.filter((line) => line === 'READY=1')).toHaveLength(1);
  });

  test('what Felix starts does not speak for Felix', async () => {
    const environment: NodeJS.ProcessEnv = {
      NOTIFY_SOCKET: '/run/x',
      WATCHDOG_USEC: '1000',
      WATCHDOG_PID: '7',
      A: 'b',
    };
    expect(takeNotifyRequest(environment, 8)).toEqual({ socket: '/run/x', watchdogMs: 0 });
    expect(environment).toEqual({ A: 'b' });
    expect(takeNotifyRequest({ NOTIFY_SOCKET: 'vsock:1:2' }, 8)).toBeNull();
    expect(readFileSync(join(import.meta.dirname, '../../src/cli/pipe.ts'), 'utf8')).toContain("'felix'");
  });
});

describe('ServiceNotifier', () => {
  test('on a socket without a file: gives no sign of life while an apply hangs', async () => {
    const name = `@fdp-notify-${process.pid}`;
    const manager = listen(name);
    let health: ServiceHealth = { isLive: true, isReady: true, detail: 'in sync' };
    const request = { socket: name, watchdogMs: 100 };
    const notifier = new ServiceNotifier(
      request,
      notifyBy(request, directRunner),
      silentLogger,
      () => health,
      () => performance.now(),
    );
    const signs = (): number => manager.lines.filter((line) => line === 'WATCHDOG=1').length;
    await waitFor(
      () => signs() >= 3,
      () => manager.lines.join(', '),
    );
    health = { isLive: false, isReady: false, detail: 'an apply\nhas been running for 99 s' };
    await waitFor(
      () => manager.lines.includes('STATUS=an apply has been running for 99 s'),
      () => manager.lines.join(', '),
    );
    const before = signs();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(signs()).toBe(before);
    notifier.stop();
    await waitFor(
      () => manager.lines.includes('STOPPING=1'),
      () => manager.lines.join(', '),
    );
  });

  test('without native access starts systemd-notify, and complains once when nobody listens', async () => {
    const place = folder();
    const tool = join(place, 'systemd-notify');
    writeFileSync(tool, `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >> ${place}/said\n`);
    chmodSync(tool, 0o755);
    const path = process.env['PATH'];
    process.env['PATH'] = `${place}:${path}`;
    cleanups.push(() => {
      process.env['PATH'] = path;
    });
    await notifyBy({ socket: '/run/x', watchdogMs: 0 }, directRunner, null)('READY=1\nSTATUS=in sync');
    expect(readFileSync(join(place, 'said'), 'utf8')).toBe(`/run/x|--pid=${process.pid}|READY=1|STATUS=in sync|`);
    await expect(notifyBy({ socket: join(place, 'nobody'), watchdogMs: 0 }, directRunner)('READY=1')).rejects.toThrow(
      'ENOENT',
    );
    expect(readdirSync(place)).toContain('said');
  });
});
