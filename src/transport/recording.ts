// Recordings: a stream of frames kept in a folder, played back as a session of its own. The format is
// docs/recording-format.md; recording-writer.ts writes it.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, errorMessage, ProtocolError } from '../base/errors.js';
import { type Frame, FrameDecoder } from '../protocol/frame.js';
import type {
  CloseReason,
  FromDataplanePayload,
  MessageHandler,
  Session,
  ToDataplanePayload,
} from '../protocol/session.js';
import { Inbox, type RawMessage } from './inbox.js';
import { type ConnectionOptions, driverCodec, newTransportCounters, type SessionAcceptor } from './session.js';

/** Frames as they went over the pipe. */
export const STREAM_FILE = 'stream.bin';
/** What the recording is of, and its steps. */
export const STEPS_FILE = 'steps.json';

/** A part of a recording: `frames` is how many frames from the start of the stream belong to it and all before it. */
export interface RecordingStep {
  readonly name: string;
  readonly frames: number;
}

/** A recording in its folder. */
export interface Recording {
  readonly description: string;
  readonly steps: readonly RecordingStep[];
  /** How many whole frames the stream has. */
  readonly frameCount: number;
  /** The frames, read as they are asked for: no more than a part of the file, or one message, is in memory at a time. */
  messages(): Generator<RawMessage, void>;
}

/** Read at once. */
const PART_BYTES = 256 * 1024;

function badRecording(folder: string, problem: string): ConfigError {
  return new ConfigError(`Recording ${folder}: ${problem}`, 'recording', folder, 'command line');
}

function readSteps(folder: string, text: string, frames: number): { description: string; steps: RecordingStep[] } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw badRecording(folder, `${STEPS_FILE} is not JSON: ${errorMessage(error)}`);
  }
  const fields: Record<string, unknown> = typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  const { description, steps } = fields;
  if (!Array.isArray(steps)) throw badRecording(folder, `${STEPS_FILE} has no list "steps"`);
  let before = 0;
  const read = steps.map((step: unknown): RecordingStep => {
    const { name, frames: end }: Record<string, unknown> = typeof step === 'object' && step !== null ? { ...step } : {};
    if (typeof name !== 'string' || typeof end !== 'number' || !Number.isInteger(end) || end < before || end > frames) {
      throw badRecording(
        folder,
        `${STEPS_FILE}: a step needs a name and a number of frames from ${before} to ${frames}`,
      );
    }
    before = end;
    return { name, frames: end };
  });
  return { description: typeof description === 'string' ? description : '', steps: read };
}

function* readFrames(file: string, count: number): Generator<RawMessage, void> {
  const decoder = new FrameDecoder();
  const fd = openSync(file, 'r');
  try {
    let frames: Frame[] = [];
    while (decoder.framesDecoded < count) {
      // A new buffer each time: frames are views of it.
      const part = Buffer.allocUnsafe(PART_BYTES);
      const length = readSync(fd, part);
      if (length === 0) return;
      decoder.push(part.subarray(0, length), (frame) => frames.push(frame));
      yield* frames;
      frames = [];
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a recording. Frames after the last step become a step named `rest`; a stream that was cut in its last frame is
 * read up to there. Throws ConfigError for a folder that is no recording, ProtocolError for a stream that is none.
 */
export function openRecording(folder: string): Recording {
  const file = join(folder, STREAM_FILE);
  let frameCount = 0;
  let stepsText: string;
  try {
    for (const _frame of readFrames(file, Number.POSITIVE_INFINITY)) frameCount += 1;
    stepsText = readFileSync(join(folder, STEPS_FILE), 'utf8');
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw badRecording(folder, errorMessage(error));
  }
  const { description, steps } = readSteps(folder, stepsText, frameCount);
  const known = steps.at(-1)?.frames ?? 0;
  if (known < frameCount) steps.push({ name: 'rest', frames: frameCount });
  return { description, steps, frameCount, messages: () => readFrames(file, frameCount) };
}

/** Frames that are played before other work gets its turn. */
const FRAMES_PER_TURN = 64;

/** A session that a recording plays into. Nothing is delivered before `playStep`; a pause is kept to the frame. */
export class ReplaySession implements Session {
  readonly description: string;
  readonly closed: Promise<CloseReason>;
  readonly sendBacklog = 0;
  readonly #recording: Recording;
  readonly #messages: Generator<RawMessage, void>;
  readonly #inbox: Inbox<ToDataplanePayload, FromDataplanePayload>;
  readonly #onAnswer: (payload: FromDataplanePayload) => void;
  #settle: (reason: CloseReason) => void = () => undefined;
  #resumed: () => void = () => undefined;
  #isClosed = false;
  #step = 0;
  #frame = 0;

  constructor(recording: Recording, options: ConnectionOptions, onAnswer: (payload: FromDataplanePayload) => void) {
    this.description = `recording ${recording.description}`.trimEnd();
    this.#recording = recording;
    this.#messages = recording.messages();
    this.#onAnswer = onAnswer;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#inbox = new Inbox({
      codec: driverCodec(options),
      counters: options.counters ?? newTransportCounters(),
      logger: options.logger,
      flow: { stop: () => undefined, restart: () => this.#resumed() },
    });
  }

  start(handler: MessageHandler<ToDataplanePayload>): void {
    this.#inbox.start(handler);
  }

  pause(reason: string): void {
    this.#inbox.pause(reason);
  }

  resume(): void {
    this.#inbox.resume();
  }

  send(payload: FromDataplanePayload): void {
    if (!this.#isClosed) this.#onAnswer(payload);
  }

  close(): Promise<void> {
    this.#finish({ kind: 'closed' });
    return Promise.resolve();
  }

  /** Plays the next step; returns it once its last message was handled, or null when there is none or the session ended. */
  async playStep(): Promise<RecordingStep | null> {
    const step = this.#recording.steps[this.#step];
    if (step === undefined || this.#isClosed) return null;
    this.#step += 1;
    while (this.#frame < step.frames) {
      if (this.#inbox.isPaused) {
        await new Promise<void>((resolve) => {
          this.#resumed = resolve;
        });
      }
      if (this.#isClosed) return null;
      const next = this.#messages.next();
      this.#frame += 1;
      if (next.done !== true && !this.#deliver(next.value)) return null;
      if (this.#frame % FRAMES_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return step;
  }

  /** Ends the session as Felix does by going away. */
  end(): void {
    this.#finish({ kind: 'eof' });
  }

  #deliver(message: RawMessage): boolean {
    try {
      this.#inbox.accept(message);
      return true;
    } catch (error) {
      this.#finish({ kind: 'error', error: error instanceof Error ? error : new Error(String(error)) });
      return false;
    }
  }

  #finish(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#messages.return();
    this.#resumed();
    this.#settle(reason);
  }
}

/** Options of a replay. */
export interface ReplayOptions extends ConnectionOptions {
  readonly folder: string;
  /** Every payload that the driver sends. */
  readonly onAnswer: (payload: FromDataplanePayload) => void;
}

/** Opens a recording as a session; `accept` gets it before the first message. Steps are played by the caller. */
export function listen(options: ReplayOptions, accept: SessionAcceptor): ReplaySession {
  const session = new ReplaySession(openRecording(options.folder), options, options.onAnswer);
  accept(session);
  return session;
}
