// Main of the broker process: spawns commands for the daemon, which itself never forks (ecosystem.md 1.2).
import { setMaxListeners } from 'node:events';
import type { BrokerAnswer, BrokerRequest } from './broker-messages.js';
import { CoprocessHost } from './coprocess-host.js';
import { spawnCommand } from './spawn.js';

/** A tool that still runs so long after the daemon's end hangs: a later daemon must not be overwritten by it. */
const FINISH_MS = 5_000;

/**
 * Serves requests from the IPC channel until the daemon closes it or dies; then lets running commands finish (their
 * input is complete, and half of a script is worse than all of it), kills what hangs, and resolves.
 *
 * Termination signals are ignored: a service manager sends them to the whole group, and the daemon is the one to
 * decide how to stop. Rejects when started without an IPC channel.
 */
export async function runBroker(): Promise<void> {
  const { send } = process;
  if (send === undefined) throw new Error('The broker is started by the daemon only: there is no IPC channel');
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
  const running = new Set<Promise<void>>();
  const coprocesses = new CoprocessHost();
  const cancelling = new AbortController();
  // One listener for each command that runs: many are no leak.
  setMaxListeners(0, cancelling.signal);

  const answer = (message: BrokerAnswer): void => {
    // The daemon may be gone: its loss of the answer is then no news to anyone.
    if (process.connected) send.call(process, message, undefined, undefined, () => undefined);
  };
  const track = (work: Promise<void>): void => {
    running.add(work);
    void work.finally(() => running.delete(work));
  };
  const serve = (request: BrokerRequest): void => {
    const result =
      request.kind === 'run'
        ? spawnCommand(request.command, { cancel: cancelling.signal })
        : coprocesses.transact(request.tool, request.command);
    track(result.then((done) => answer({ kind: 'result', id: request.id, result: done })));
  };

  await new Promise<void>((resolve) => {
    process.on('message', (message: BrokerRequest) => serve(message));
    process.once('disconnect', resolve);
  });
  const timer = setTimeout(() => {
    cancelling.abort();
    coprocesses.kill();
  }, FINISH_MS);
  while (running.size > 0) await Promise.all(running);
  clearTimeout(timer);
  coprocesses.end();
}
