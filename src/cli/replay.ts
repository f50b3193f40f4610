// `felix-dataplane replay`: plays a recording to a driver as its control plane, or only shows what is in it.
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, toJson } from '@bufbuild/protobuf';
import { ConfigError } from '../base/errors.js';
import { ToDataplaneSchema } from '../protocol/gen/felix/felixbackend_pb.js';
import { ToDataplaneDecoder } from '../protocol/messages.js';
import type { ControlSession, ToDataplanePayload } from '../protocol/session.js';
import * as pipe from '../transport/pipe.js';
import { readRecording, type Recording } from '../transport/recording.js';
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
const WAIT_MS = 20;

function positive(name: string, text: string | undefined): number {
  if (text === undefined) return 0;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(`${name} is "${text}", allowed is a number above 0`, name, text, 'command line');
}

function decodeAll(recording: Recording, log: RootLogger): (ToDataplanePayload | null)[] {
  const decoder = new ToDataplaneDecoder({
    onIssue: (issue) => log.warn('A message that is not known is left out', { ...issue }),
  });
  return recording.messages.map(
    ({ bytes, sequence, offset }) => decoder.decode(bytes, sequence, offset)?.payload ?? null,
  );
}

/** Each step with its messages, in order. */
function* stepsOf(recording: Recording, payloads: readonly (ToDataplanePayload | null)[]) {
  let from = 0;
  for (const [index, step] of recording.steps.entries()) {
    const messages = payloads.slice(from, step.frames).filter((payload) => payload !== null);
    const title = `step ${index + 1} of ${recording.steps.length}, ${step.name}: messages ${from + 1} to ${step.frames} of ${payloads.length}`;
    yield { title, messages };
    from = step.frames;
  }
}

function show(recording: Recording, payloads: readonly (ToDataplanePayload | null)[]): void {
  for (const { title, messages } of stepsOf(recording, payloads)) {
    console.log(title);
    for (const payload of messages) {
      const message = create(ToDataplaneSchema, { payload });
      console.log(`  ${JSON.stringify(toJson(ToDataplaneSchema, message, { useProtoFieldName: true }))}`);
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

async function playAll(
  session: ControlSession,
  recording: Recording,
  payloads: readonly (ToDataplanePayload | null)[],
  options: ReplayOptions,
): Promise<void> {
  const speed = positive('--speed', options.speed);
  const pauseMs = positive('--pause', options.pause) * 1_000;
  const keyboard = options.step === true ? createInterface({ input: process.stdin, output: process.stdout }) : null;
  for (const { title, messages } of stepsOf(recording, payloads)) {
    await keyboard?.question(`Enter plays ${title} `);
    for (const payload of messages) {
      session.send(payload);
      if (speed > 0) await sleep(1_000 / speed);
      while (session.sendBacklog > MAX_WAITING) await sleep(WAIT_MS);
    }
    console.log(title);
    if (pauseMs > 0) await sleep(pauseMs);
  }
  keyboard?.close();
}

/** Plays the recording in `folder`, then stays connected until a signal, or with `once` until the driver is in sync. */
export async function runReplay(folder: string, options: ReplayOptions): Promise<number> {
  const { logFormat, logLevel } = readOptions(process.env);
  const log = createLogger(logFormat, logLevel === undefined ? 'info' : logLevel);
  const recording = readRecording(folder);
  const payloads = decodeAll(recording, log);
  if (options.dry === true) {
    show(recording, payloads);
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
  const played = playAll(session, recording, payloads, options).then(async () => {
    if (options.once !== true) return await new Promise<never>(() => undefined);
    await inSync;
    return EXIT.ok;
  });
  const code = await Promise.race([closed, untilSignal(log), played]);
  await session.close();
  log.flush();
  return code;
}
