// `felix-dataplane replay`: plays a recording to a driver as its control plane, or only shows what is in it.
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, toJson } from '@bufbuild/protobuf';
import { ConfigError } from '../base/errors.js';
import { ToDataplaneSchema } from '../protocol/gen/felix/felixbackend_pb.js';
import { ToDataplaneDecoder } from '../protocol/messages.js';
import type { ControlSession, ToDataplanePayload } from '../protocol/session.js';
import * as pipe from '../transport/pipe.js';
import { openRecording, type Recording } from '../transport/recording.js';
import { type ControlOptions, openControlSession, reportClosed } from './control-session.js';
import { createLogger, type RootLogger } from './logger.js';
import { logStatus } from './mock.js';
import { readOptions } from './options.js';
import { EXIT, untilSignal } from './process.js';

/** Options of the command. */
export interface ReplayOptions extends ControlOptions {
  readonly to?: string;
  readonly driver?: string;
  readonly dry?: boolean;
  readonly step?: boolean;
  /** Messages a second. */
  readonly speed?: string;
  /** Seconds after each step. */
  readonly pause?: string;
  readonly once?: boolean;
}

/** Messages that may wait for a driver that reads slowly. */
const MAX_WAITING = 1_000;
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Messages between two words of progress within a step. */
const PROGRESS_EVERY = 10_000;
const WAIT_MS = 20;

function positive(name: string, text: string | undefined): number {
  if (text === undefined) return 0;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(`${name} is "${text}", allowed is a number above 0`, name, text, 'command line');
}

/** A message of the recording; `payload` is null for one that is not known. */
interface Message {
  readonly number: number;
  readonly payload: ToDataplanePayload | null;
  readonly sizeBytes: number;
}

interface Step {
  readonly title: string;
  readonly messages: Iterable<Message>;
}

/** Each step with its messages, in order, read as they are asked for; a step has to be read to its end before the next. */
function* stepsOf(recording: Recording, log: RootLogger): Generator<Step> {
  const decoder = new ToDataplaneDecoder({
    onIssue: (issue) => log.warn('A message that is not known is left out', { ...issue }),
  });
  const frames = recording.messages();
  let from = 0;
  function* until(end: number): Generator<Message> {
    while (from < end) {
      const next = frames.next();
      if (next.done === true) return;
      const { bytes, sequence, offset } = next.value;
      from += 1;
      const payload = decoder.decode(bytes, sequence, offset)?.payload ?? null;
      yield { number: from, payload, sizeBytes: bytes.byteLength };
    }
  }
  for (const [index, step] of recording.steps.entries()) {
    const place = `step ${index + 1} of ${recording.steps.length}, ${step.name}`;
    const title = `${place}: messages ${from + 1} to ${step.frames} of ${recording.frameCount}`;
    yield { title, messages: until(step.frames) };
  }
}

/** Prints a line. Resolves once it has left, so that a slow reader bounds memory and the end of the process loses nothing. */
async function print(line: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => (error ? reject(error) : resolve()));
  });
}

async function show(recording: Recording, log: RootLogger): Promise<void> {
  for (const { title, messages } of stepsOf(recording, log)) {
    await print(title);
    for (const { payload } of messages) {
      if (payload === null) continue;
      const message = create(ToDataplaneSchema, { payload });
      await print(`  ${JSON.stringify(toJson(ToDataplaneSchema, message, { useProtoFieldName: true }))}`);
    }
  }
}

async function openSession(options: ReplayOptions, log: RootLogger): Promise<ControlSession> {
  const { to, driver } = options;
  if ((to === undefined) === (driver === undefined)) {
    throw new ConfigError('Give one of --to, --driver and --dry', 'replay', '', 'command line');
  }
  if (driver !== undefined) return pipe.dial({ command: driver, logger: log }).session;
  return await openControlSession(to ?? '', options, log);
}

/** Sends as fast as the driver reads: what waits for it is bounded by number and by size. */
class Pacer {
  readonly #session: ControlSession;
  readonly #pauseMs: number;
  #waitingBytes = 0;

  constructor(session: ControlSession, messagesPerSecond: number) {
    this.#session = session;
    this.#pauseMs = messagesPerSecond > 0 ? 1_000 / messagesPerSecond : 0;
  }

  async send(payload: ToDataplanePayload, sizeBytes: number): Promise<void> {
    this.#session.send(payload);
    this.#waitingBytes += sizeBytes;
    if (this.#pauseMs > 0) await sleep(this.#pauseMs);
    while (this.#mustWait()) await sleep(WAIT_MS);
  }

  #mustWait(): boolean {
    const waiting = this.#session.sendBacklog;
    if (waiting === 0) this.#waitingBytes = 0;
    return waiting > MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES;
  }
}

async function playAll(
  session: ControlSession,
  recording: Recording,
  options: ReplayOptions,
  log: RootLogger,
): Promise<void> {
  const pacer = new Pacer(session, positive('--speed', options.speed));
  const pauseMs = positive('--pause', options.pause) * 1_000;
  const keyboard = options.step === true ? createInterface({ input: process.stdin, output: process.stdout }) : null;
  for (const { title, messages } of stepsOf(recording, log)) {
    await keyboard?.question(`Enter plays ${title} `);
    for (const { number, payload, sizeBytes } of messages) {
      if (payload !== null) await pacer.send(payload, sizeBytes);
      if (number % PROGRESS_EVERY === 0) await print(`message ${number} of ${recording.frameCount}`);
    }
    await print(title);
    if (pauseMs > 0) await sleep(pauseMs);
  }
  keyboard?.close();
}

/** Plays the recording in `folder`, then stays connected until a signal, or with `once` until the driver is in sync. */
export async function runReplay(folder: string, options: ReplayOptions): Promise<number> {
  const { logFormat, logLevel } = readOptions(process.env);
  const log = createLogger(logFormat, logLevel === undefined ? 'info' : logLevel);
  // Told to `print` as well.
  process.stdout.on('error', () => undefined);
  const recording = openRecording(folder);
  if (options.dry === true) {
    await show(recording, log).catch((error: unknown) => {
      // Whoever reads has seen enough (`| head`).
      if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error;
    });
    return EXIT.ok;
  }
  const session = await openSession(options, log);
  let hasAnswered = false;
  let sawInSync: () => void = () => undefined;
  const inSync = new Promise<void>((resolve) => {
    sawInSync = resolve;
  });
  session.start((payload) => {
    hasAnswered = true;
    logStatus(payload, log);
    if (payload.case === 'dataplaneInSync') sawInSync();
  });
  const closed = session.closed.then((reason) => reportClosed(reason, hasAnswered, log));
  const played = playAll(session, recording, options, log).then(async () => {
    if (options.once !== true) return await new Promise<never>(() => undefined);
    await inSync;
    return EXIT.ok;
  });
  const code = await Promise.race([closed, untilSignal(log), played]);
  await session.close();
  log.flush();
  return code;
}
