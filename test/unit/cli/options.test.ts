import { describe, expect, it } from 'vitest';
import { readOptions } from '../../../src/cli/options.js';

/** No file of this machine is read. */
const NO_FILE = { DATAPLANE_OPTIONS_FILE: '/nonexistent' };

describe('readOptions, log level', () => {
  it.each([
    [{}, undefined],
    [{ FELIX_LOGSEVERITYSCREEN: 'DEBUG' }, 'debug'],
    [{ FELIX_LOGSEVERITYSCREEN: 'Trace' }, 'debug'],
    [{ FELIX_LOGSEVERITYSCREEN: 'INFO' }, 'info'],
    [{ FELIX_LOGSEVERITYSCREEN: 'WARNING' }, 'warn'],
    [{ FELIX_LOGSEVERITYSCREEN: 'ERROR' }, 'error'],
    [{ FELIX_LOGSEVERITYSCREEN: 'FATAL' }, 'error'],
    [{ FELIX_LOGSEVERITYSCREEN: 'none' }, null],
    [{ FELIX_LogSeverityScreen: 'Error' }, 'error'],
    [{ FELIX_LOGSEVERITYSCREEN: 'loud' }, undefined],
    [{ FELIX_LOGSEVERITYSCREEN: 'ERROR', DATAPLANE_LOG_LEVEL: 'debug' }, 'debug'],
  ])('%j is %s', (environment, level) => {
    expect(readOptions({ ...NO_FILE, ...environment }).logLevel).toBe(level);
  });

  it('of our own that is none, is refused with what is allowed', () => {
    expect(() => readOptions({ ...NO_FILE, DATAPLANE_LOG_LEVEL: 'loud' })).toThrow('debug, info, warning, error, none');
  });
});

describe('readOptions, without any', () => {
  it('gives the documented defaults', () => {
    expect(readOptions(NO_FILE)).toEqual({
      logFormat: 'text',
      logLevel: undefined,
      kernelDriver: 'auto',
      health: '127.0.0.1:9199',
      mtuFile: '/var/lib/calico/mtu',
      felixMetrics: null,
      statusPathPrefix: null,
    });
  });
});
