// Writes recordings: by hand, message by message, or beside a session that goes on undisturbed.
import { closeSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DataplaneError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { encodeFrame } from '../protocol/frame.js';
import { encodeToDataplane } from '../protocol/messages.js';
import type { Session, ToDataplanePayload } from '../protocol/session.js';
import { type RecordingStep, STEPS_FILE, STREAM_FILE } from './recording.js';
import { redact } from './redaction.js';

/** What a recording is written with. */
export interface RecordingWriterOptions {
  readonly folder: string;
  readonly description: string;
  readonly logger: Logger;
  /** Recording stops above this size; default 1 GiB. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_RECORDING_BYTES = 1024 ** 3;

/**
 * Writes a recording, with secrets and paths taken out. Whole frames only, so a recording that was cut short by a
 * crash is still one. A failed write ends the recording and is logged; it never reaches the session.
 */
export class RecordingWriter {
  readonly #options: RecordingWriterOptions;
  readonly #fd: number;
  readonly #steps: RecordingStep[] = [];
  #frames = 0;
  #bytes = 0;
  #isOpen = true;

  /** Makes the folder. Throws DataplaneError when that fails or when it already holds a recording. */
  constructor(options: RecordingWriterOptions) {
    this.#options = options;
    try {
      mkdirSync(options.folder, { recursive: true, mode: 0o700 });
      this.#fd = openSync(join(options.folder, STREAM_FILE), 'wx', 0o600);
    } catch (error) {
      throw new DataplaneError('config', `Recording into ${options.folder} is not possible: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    this.#writeSteps();
  }

  /** Whether messages are still written. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Adds a message of the control plane. */
  add(payload: ToDataplanePayload): void {
    this.#guard(() => {
      const frame = encodeFrame(encodeToDataplane(redact(payload), BigInt(this.#frames)));
      const { maxBytes = DEFAULT_MAX_RECORDING_BYTES } = this.#options;
      if (this.#bytes + frame.byteLength > maxBytes)
        throw new DataplaneError('protocol', `it has reached ${maxBytes} bytes`);
      writeSync(this.#fd, frame);
      this.#bytes += frame.byteLength;
      this.#frames += 1;
    });
  }

  /** Ends a step: everything since the last one belongs to it. A step without messages is left out. */
  endStep(name: string): void {
    if (this.#frames === (this.#steps.at(-1)?.frames ?? 0)) return;
    this.#steps.push({ name, frames: this.#frames });
    this.#guard(() => this.#writeSteps());
  }

  /** Ends the recording; what came after the last step becomes a step of its own. */
  close(): void {
    if (!this.#isOpen) return;
    this.endStep('end');
    this.#isOpen = false;
    closeSync(this.#fd);
  }

  #writeSteps(): void {
    const { folder, description } = this.#options;
    const temporary = join(folder, `.${STEPS_FILE}.tmp`);
    const content = { description, redacted: true, config: {}, steps: this.#steps };
    writeFileSync(temporary, `${JSON.stringify(content, null, 1)}\n`, { mode: 0o600 });
    renameSync(temporary, join(folder, STEPS_FILE));
  }

  #guard(action: () => void): void {
    if (!this.#isOpen) return;
    try {
      action();
    } catch (error) {
      this.#isOpen = false;
      closeSync(this.#fd);
      this.#options.logger.error('The recording ends here', {
        folder: this.#options.folder,
        error: errorMessage(error),
      });
    }
  }
}

/** Silence after which a new step begins. */
const QUIET_MS = 2_000;

/**
 * Adds messages with steps of its own: a step ends after in-sync and whenever nothing came for two seconds. `close` ends
 * the recording.
 */
export class StepRecorder {
  readonly #writer: RecordingWriter;
  #quiet: NodeJS.Timeout | undefined;

  constructor(writer: RecordingWriter) {
    this.#writer = writer;
  }

  /** Adds a message of the control plane. */
  add(payload: ToDataplanePayload): void {
    const writer = this.#writer;
    writer.add(payload);
    clearTimeout(this.#quiet);
    if (payload.case === 'inSync') writer.endStep('in-sync');
    else this.#quiet = setTimeout(() => writer.endStep(`at ${new Date().toISOString()}`), QUIET_MS).unref();
  }

  close(): void {
    clearTimeout(this.#quiet);
    this.#writer.close();
  }
}

/** The same session with everything it receives recorded beside it; the recording ends with the session. */
export function recordSession(session: Session, writer: RecordingWriter): Session {
  const recorder = new StepRecorder(writer);
  void session.closed.then(() => recorder.close());
  return {
    description: `${session.description} (recorded)`,
    closed: session.closed,
    get sendBacklog() {
      return session.sendBacklog;
    },
    start: (handler) =>
      session.start((payload, origin) => {
        // Before the handler: it may keep and change what it is handed.
        recorder.add(payload);
        handler(payload, origin);
      }),
    pause: (reason) => session.pause(reason),
    resume: () => session.resume(),
    send: (payload) => session.send(payload),
    close: (flushMs) => session.close(flushMs),
  };
}
