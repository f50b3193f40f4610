// Main of the broker process: spawns commands for the daemon, which itself never forks (ecosystem.md 1.2).
import type { BrokerAnswer, BrokerRequest } from './broker-messages.js';
import { CoprocessHost } from './coprocess-host.js';
import { spawnCommand } from './spawn.js';

/**
 * Serves requests from the IPC channel until the daemon closes it or dies; then lets running commands finish (their input is complete, and half of a script is worse than all of it) and resolves.
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
      request.kind === 'run' ? spawnCommand(request.command) : coprocesses.transact(request.tool, request.command);
    track(result.then((done) => answer({ kind: 'result', id: request.id, result: done })));
  };

  await new Promise<void>((resolve) => {
    process.on('message', (message: BrokerRequest) => serve(message));
    process.once('disconnect', resolve);
  });
  while (running.size > 0) await Promise.all(running);
  coprocesses.end();
}
