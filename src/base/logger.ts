// The logger that rooms are handed. Its real form is made by the composition root; tests pass a recording one.

/** Structured values of a log line; no secrets, no whole messages. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Levelled, structured logger. Calls never throw and never block on the reader of the log. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

/** A logger that drops everything. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
