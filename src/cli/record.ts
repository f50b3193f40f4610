// `felix-dataplane record`: writes a recording of what a control plane sends. Between Felix and a driver it passes every byte
// on as it is; what a running service tells is in record-from.ts.
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { ConfigError, errorMessage } from '../base/errors.js';
import { FrameDecoder } from '../protocol/frame.js';
import { ToDataplaneDecoder } from '../protocol/messages.js';
import { hasInheritedPipes, READ_FD, WRITE_FD } from '../transport/inherited-pipes.js';
import { RecordingWriter, StepRecorder } from '../transport/recording-writer.js';
import { createLogger, type RootLogger } from './logger.js';
import { readOptions } from './options.js';
import { EXIT } from './process.js';
import { recordFrom } from './record-from.js';

/** Options of the command. */
export interface RecordOptions {
  readonly driver?: string;
  readonly from?: string;
  readonly out: string;
}

/** Decodes copies of the bytes into the recording; a stream that cannot be decoded ends the recording, not the driver. */
function recordBytes(fromFelix: Readable, recorder: StepRecorder, log: RootLogger): void {
  const frames = new FrameDecoder();
  const messages = new ToDataplaneDecoder({
    onIssue: (issue) => log.warn('A message that is not known is not recorded', { ...issue }),
  });
  let isRecording = true;
  fromFelix.on('data', (chunk: Buffer) => {
    if (!isRecording) return;
    try {
      frames.push(chunk, (frame) => {
        const decoded = messages.decode(frame.bytes, frame.sequence, frame.offset);
        if (decoded !== null) recorder.add(decoded.payload);
      });
    } catch (error) {
      isRecording = false;
      recorder.close();
      log.error('The recording ends here; the bytes are passed on', { error: errorMessage(error) });
    }
  });
}

/**
 * Runs until the driver ends; resolves with its exit code, so that Felix sees what it would see without us. Signals are
 * passed on. @throws ConfigError when Felix did not start us or the folder holds a recording already.
 */
export async function runRecord(options: RecordOptions): Promise<number> {
  const { logFormat, logLevel } = readOptions(process.env);
  const log = createLogger(logFormat, logLevel === undefined ? 'info' : logLevel);
  const { driver, from, out } = options;
  if ((driver === undefined) === (from === undefined)) {
    throw new ConfigError('Give one of --driver and --from', 'record', '', 'command line');
  }
  const code = from === undefined ? await recordBetween(driver ?? '', out, log) : await recordFrom(from, out, log);
  log.flush();
  return code;
}

async function recordBetween(driver: string, out: string, log: RootLogger): Promise<number> {
  if (!hasInheritedPipes(READ_FD, WRITE_FD)) {
    const message =
      `File descriptors ${READ_FD} and ${WRITE_FD} are not pipes to a control plane. Felix gives no arguments: let ` +
      'DataplaneDriver name a script that does `exec felix-dataplane record --driver … --out …`';
    throw new ConfigError(message, 'transport', 'pipe', 'command line');
  }
  const writer = new RecordingWriter({ folder: out, description: `driver ${driver}`, logger: log });
  const recorder = new StepRecorder(writer);
  const fromFelix = new Socket({ fd: READ_FD, readable: true, writable: false });
  const toFelix = new Socket({ fd: WRITE_FD, readable: false, writable: true });
  const child = spawn(driver, [], { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'] });
  const toDriver = child.stdio[3] as Writable;
  const fromDriver = child.stdio[4] as Readable;
  // A side that is gone shows in the driver's end or in the end of our input; nothing else is to be done about it.
  for (const stream of [fromFelix, toFelix, toDriver, fromDriver]) {
    stream.on('error', (error) => log.debug('A pipe is gone', { error: error.message }));
  }
  recordBytes(fromFelix, recorder, log);
  fromFelix.pipe(toDriver);
  fromDriver.pipe(toFelix);
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => child.kill(name));
  const code = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      log.error('The driver did not start', { driver, error: error.message });
      resolve(EXIT.software);
    });
    child.once('exit', (exitCode) => resolve(exitCode ?? EXIT.software));
  });
  recorder.close();
  log.info('The recording is complete', { folder: out });
  return code;
}
