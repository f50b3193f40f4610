// The unit file: its type goes with what the driver says, its limits with what stopping takes, its command exists.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT } from '../../../src/cli/process.js';

const text = readFileSync(join(import.meta.dirname, '../../../deploy/systemd/felix-dataplane.service'), 'utf8');
const settings = new Map(
  text
    .split('\n')
    .filter((line) => /^\w+=/.test(line))
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);

describe('felix-dataplane.service', () => {
  it('waits for READY=1 without a limit, hears all processes, and watches', () => {
    expect(settings.get('Type')).toBe('notify');
    expect(settings.get('NotifyAccess')).toBe('all');
    expect(settings.get('TimeoutStartSec')).toBe('infinity');
    // Above DataplaneWatchdogTimeout, so that our own watchdog has the last word in the log.
    expect(Number(settings.get('WatchdogSec'))).toBeGreaterThan(90);
  });

  it('serves, is started again after every end but those that a start cannot cure', () => {
    expect(settings.get('ExecStart')).toMatch(/\/felix-dataplane serve --listen unix:\/run\/felix-dataplane\.sock$/);
    expect(settings.get('Restart')).toBe('always');
    expect(settings.get('RestartPreventExitStatus')).toBe(`${EXIT.usage} ${EXIT.config}`);
    expect(settings.get('KillMode')).toBe('mixed');
  });
});
