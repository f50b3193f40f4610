// `felix-dataplane record --from`: writes what the control plane of a running service has said and goes on to say.
import { connect } from 'node:net';
import { ConfigError, errorMessage } from '../base/errors.js';
import { FrameDecoder } from '../protocol/frame.js';
import { ToDataplaneDecoder } from '../protocol/messages.js';
import { checkSocketOwner, UnreachableError } from '../transport/listening.js';
import { endOf, type ObserverEnd } from '../transport/observers.js';
import { RecordingWriter, StepRecorder } from '../transport/recording-writer.js';
import type { RootLogger } from './logger.js';
import { EXIT, untilSignal } from './process.js';

/** Records until the session ends, a signal comes, or the service lets go of us; resolves with the exit code. */
export async function recordFrom(from: string, out: string, log: RootLogger): Promise<number> {
  if (!from.startsWith('unix:/')) {
    throw new ConfigError(`--from is "${from}", allowed is unix:/absolute/path`, '--from', from, 'command line');
  }
  const path = from.slice('unix:'.length);
  checkSocketOwner(path);
  const writer = new RecordingWriter({ folder: out, description: `service ${from}`, logger: log });
  const recorder = new StepRecorder(writer);
  const socket = connect(path);
  const frames = new FrameDecoder();
  const messages = new ToDataplaneDecoder({
    onIssue: (issue) => log.warn('A message that is not known is not recorded', { ...issue }),
  });
  const ended = new Promise<ObserverEnd>((resolve, reject) => {
    socket.on('error', (error) => reject(new UnreachableError(from, error)));
    socket.on('close', () => resolve({ kind: 'dropped', text: 'the service is gone' }));
    socket.on('data', (chunk: Buffer) => {
      try {
        frames.push(chunk, (frame) => {
          const end = endOf(frame.bytes);
          if (end !== null) resolve(end);
          else {
            const decoded = messages.decode(frame.bytes, frame.sequence, frame.offset);
            if (decoded !== null) recorder.add(decoded.payload);
          }
          if (!writer.isOpen) resolve({ kind: 'dropped', text: 'the recording cannot be written further' });
        });
      } catch (error) {
        resolve({ kind: 'dropped', text: errorMessage(error) });
      }
    });
  });
  log.info('Recording', { from, folder: out });
  const code = await Promise.race([
    untilSignal(log),
    ended.then(({ kind, text }) => {
      if (kind === 'over') log.info('The session is over', { reason: text });
      else log.error('The recording ends before the session', { reason: text });
      return kind === 'over' ? EXIT.ok : EXIT.dataplane;
    }),
  ]);
  socket.destroy();
  recorder.close();
  log.info('The recording is complete', { folder: out });
  return code;
}
