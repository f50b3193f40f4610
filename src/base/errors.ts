// The error classes of the whole program. Every expected failure is one of these, so that callers decide by
// `kind` and never by message text.

/** Which part of the world failed; see the class of the same name. */
export type ErrorKind = 'tool' | 'netlink' | 'protocol' | 'config' | 'refused' | 'bug';

/** Base class: a failure with a machine-readable `kind` and a message that names what, where and what to do. */
export class DataplaneError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
    this.name = new.target.name;
  }
}

/** What is known of a command that failed. `stderrHead` is at most 2,000 characters. */
export interface ToolFailure {
  readonly argv: readonly string[];
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stderrHead: string;
  /** 1-based line of our input that the tool names, if it names one. */
  readonly inputLine?: number;
  readonly durationMs: number;
}

/** An external program exited non-zero, was killed, timed out or could not be started. */
export class ToolError extends DataplaneError {
  readonly failure: ToolFailure;

  constructor(message: string, failure: ToolFailure, options?: { cause?: unknown }) {
    super('tool', message, options);
    this.failure = failure;
  }
}

/** The kernel answered a netlink request with an error. `errno` is the positive number, `code` its name. */
export class NetlinkError extends DataplaneError {
  readonly errno: number;
  readonly code: string;

  constructor(message: string, errno: number, code: string, options?: { cause?: unknown }) {
    super('netlink', message, options);
    this.errno = errno;
    this.code = code;
  }
}

/** The peer sent bytes that are not a valid stream. `sequence` counts frames from 0, `offset` bytes from 0. */
export class ProtocolError extends DataplaneError {
  readonly sequence: number;
  readonly offset: number;

  constructor(message: string, sequence: number, offset: number, options?: { cause?: unknown }) {
    super('protocol', message, options);
    this.sequence = sequence;
    this.offset = offset;
  }
}

/** A parameter has a value that cannot be used and may not be replaced by its default. */
export class ConfigError extends DataplaneError {
  readonly key: string;
  readonly rawValue: string;
  readonly source: string;

  constructor(message: string, key: string, rawValue: string, source: string) {
    super('config', message);
    this.key = key;
    this.rawValue = rawValue;
    this.source = source;
  }
}

/** The kernel, or our own check, refuses one object (a rule, a set, a member); all others are unaffected. */
export class RefusedError extends DataplaneError {
  readonly object: string;

  constructor(message: string, object: string, options?: { cause?: unknown }) {
    super('refused', message, options);
    this.object = object;
  }
}

/** A broken invariant of our own. */
export class BugError extends DataplaneError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('bug', message, options);
  }
}

/** The message of anything thrown, for logs. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
