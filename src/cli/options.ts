// Options of the driver itself. In pipe mode Felix gives no arguments, so they come from the environment
// (DATAPLANE_…) or from a file beside the executable. Of Felix's own variables the log level alone is read here.
import { existsSync, readFileSync } from 'node:fs';
import { ConfigError } from '../base/errors.js';
import { type LogFormat, type LogLevel, parseLogLevel } from './logger.js';

/** How kernel work is carried out; `auto` takes the fastest that works. */
export type KernelDriver = 'auto' | 'spawn' | 'coprocess' | 'native';

/** Options that do not come from Felix. */
export interface DriverOptions {
  readonly logFormat: LogFormat;
  /** undefined: LogSeverityScreen of the configuration decides. */
  readonly logLevel: LogLevel | null | undefined;
  readonly kernelDriver: KernelDriver;
  /** `HOST:PORT` or `unix:/path`; null = no health and metrics server. */
  readonly health: string | null;
  readonly mtuFile: string;
  /** URL of Felix's own metrics, merged into ours; null = ours alone. */
  readonly felixMetrics: string | null;
  /** Overrides EndpointStatusPathPrefix. */
  readonly statusPathPrefix: string | null;
}

const DEFAULTS = {
  DATAPLANE_LOG_FORMAT: 'text',
  DATAPLANE_KERNEL_DRIVER: 'auto',
  DATAPLANE_HEALTH: '127.0.0.1:9199',
  DATAPLANE_MTU_FILE: '/var/lib/calico/mtu',
} as const;

/**
 * Felix's level from our environment, which wins over every other source of LogSeverityScreen, as it does in Felix; a
 * service has it without a Felix. Felix takes such names in any case. A value that is no level says nothing.
 */
function felixLogLevel(environment: NodeJS.ProcessEnv): LogLevel | null | undefined {
  const name = Object.keys(environment).find((key) => key.toUpperCase() === 'FELIX_LOGSEVERITYSCREEN');
  return name === undefined ? undefined : parseLogLevel(environment[name] ?? '');
}

function oneOf<T extends string>(key: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value.toLowerCase());
  if (found === undefined) {
    throw new ConfigError(`${key} is "${value}", allowed are ${allowed.join(', ')}`, key, value, 'environment');
  }
  return found;
}

/** `KEY=VALUE` lines; `#` starts a comment line. */
export function parseOptionsFile(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^\s*(DATAPLANE_[A-Z_]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) values[match[1]] = match[2];
  }
  return values;
}

/**
 * Reads the options. The environment wins over the file named by DATAPLANE_OPTIONS_FILE, which wins over defaults.
 * @throws ConfigError naming key, value and what is allowed.
 */
export function readOptions(environment: NodeJS.ProcessEnv): DriverOptions {
  const file = environment['DATAPLANE_OPTIONS_FILE'] ?? '/etc/calico/felix-dataplane.env';
  const fromFile = existsSync(file) ? parseOptionsFile(readFileSync(file, 'utf8')) : {};
  const value = (key: string): string | undefined => {
    const own = environment[key];
    return own !== undefined && own !== '' ? own : fromFile[key];
  };
  const valueOr = (key: keyof typeof DEFAULTS): string => value(key) ?? DEFAULTS[key];
  const level = value('DATAPLANE_LOG_LEVEL');
  const parsedLevel = level === undefined ? felixLogLevel(environment) : parseLogLevel(level);
  if (level !== undefined && parsedLevel === undefined) {
    throw new ConfigError(
      `DATAPLANE_LOG_LEVEL is "${level}", allowed are debug, info, warning, error, none`,
      'DATAPLANE_LOG_LEVEL',
      level,
      'environment',
    );
  }
  const health = valueOr('DATAPLANE_HEALTH');
  return {
    logFormat: oneOf('DATAPLANE_LOG_FORMAT', valueOr('DATAPLANE_LOG_FORMAT'), ['text', 'json']),
    logLevel: parsedLevel,
    kernelDriver: oneOf('DATAPLANE_KERNEL_DRIVER', valueOr('DATAPLANE_KERNEL_DRIVER'), [
      'auto',
      'spawn',
      'coprocess',
      'native',
    ]),
    health: health === 'off' ? null : health,
    mtuFile: valueOr('DATAPLANE_MTU_FILE'),
    felixMetrics: value('DATAPLANE_FELIX_METRICS') ?? null,
    statusPathPrefix: value('DATAPLANE_STATUS_PATH_PREFIX') ?? null,
  };
}
