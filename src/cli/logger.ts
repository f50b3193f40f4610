// The real logger: pino underneath, lines in Felix's layout (they interleave with Felix's own) or as JSON.
import pino from 'pino';
import type { LogFields, Logger } from '../base/logger.js';

/** `text` is Felix's layout: time, [LEVEL][pid], message, key=value. */
export type LogFormat = 'text' | 'json';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Felix's level names (LogSeverityScreen) as ours; `none` is null, unknown names are undefined. */
export function parseLogLevel(name: string): LogLevel | null | undefined {
  switch (name.trim().toLowerCase()) {
    case 'trace':
    case 'debug':
      return 'debug';
    case 'info':
      return 'info';
    case 'warning':
    case 'warn':
      return 'warn';
    case 'error':
    case 'fatal':
    case 'critical':
      return 'error';
    case 'none':
      return null;
    default:
      return undefined;
  }
}

/** A logger whose level can change while it runs, and whose lines can be forced out before the process ends. */
export interface RootLogger extends Logger {
  setLevel(level: LogLevel | null): void;
  /** Writes everything that is buffered, synchronously. */
  flush(): void;
}

const LEVEL_LABELS: Readonly<Record<number, string>> = {
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARNING',
  50: 'ERROR',
  60: 'FATAL',
};

function textValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /[\s"=]/.test(text) || text === '' ? JSON.stringify(text) : text;
}

/** One pino JSON line in Felix's layout; a line that is not JSON is passed on as it is. */
export function felixLine(json: string): string {
  const line = JSON.parse(json) as Record<string, unknown>;
  const { level, time, pid, msg, hostname: _hostname, ...fields } = line;
  const stamp = new Date(Number(time)).toISOString().replace('T', ' ').replace('Z', '');
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${textValue(value)}`);
  return `${stamp} [${LEVEL_LABELS[Number(level)] ?? String(level)}][${String(pid)}] felix-dataplane: ${String(msg)}${pairs.join('')}\n`;
}

function wrap(logger: pino.Logger): Logger {
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
    child: (fields: LogFields) => wrap(logger.child(fields)),
  };
}

/** Logs to standard output (Felix copies it to its own); never blocks on a slow reader until `flush`. */
export function createLogger(format: LogFormat, level: LogLevel | null): RootLogger {
  const destination = pino.destination({ dest: 1, sync: false });
  const stream = format === 'json' ? destination : { write: (line: string) => void destination.write(felixLine(line)) };
  const logger = pino({ level: level ?? 'silent', base: { pid: process.pid } }, stream);
  return {
    ...wrap(logger),
    setLevel: (next) => {
      logger.level = next ?? 'silent';
    },
    flush: () => {
      try {
        destination.flushSync();
      } catch {
        // The destination is not open yet or already gone: nothing can be written any more.
      }
    },
  };
}
