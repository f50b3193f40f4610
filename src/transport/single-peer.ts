// One control plane at a time: two would undo each other's rules. Connections that say nothing count for nothing.
import type { Logger } from '../base/logger.js';
import type { FromDataplanePayload, ToDataplanePayload } from '../protocol/session.js';
import type { SessionAcceptor } from './session.js';
import type { StreamConnection } from './stream-connection.js';

/** A connection that has sent its first bytes and asks to be the control plane. */
export interface Candidate {
  readonly description: string;
  /** Makes the session; called once, if it is let in. */
  open(): StreamConnection<ToDataplanePayload, FromDataplanePayload>;
  /** Turns it away with a reason for the peer, as far as the transport can carry one. */
  refuse(reason: string): void;
  /** Once it is the session: whether the kernel says that it does not answer any more. Default: never. */
  readonly isGone?: () => boolean;
}

/** How a second control plane is met. */
export interface SinglePeerOptions {
  readonly accept: SessionAcceptor;
  readonly logger: Logger;
  /** true: the newcomer takes over and the old session ends as `replaced`. false: the newcomer is refused. */
  readonly takeOver: boolean;
}

/** Lets in one candidate at a time. */
export class SinglePeer {
  readonly #options: SinglePeerOptions;
  #current: StreamConnection<ToDataplanePayload, FromDataplanePayload> | null = null;
  #isCurrentGone: () => boolean = () => false;

  constructor(options: SinglePeerOptions) {
    this.#options = options;
  }

  /** Settles when no session is open. */
  async whenIdle(): Promise<void> {
    while (this.#current !== null) await this.#current.closed;
  }

  /** Decides on a candidate at once. */
  admit(candidate: Candidate): void {
    const { accept, logger, takeOver } = this.#options;
    const current = this.#current;
    if (current !== null) {
      if (!takeOver && !this.#isCurrentGone()) {
        const reason = `another control plane is connected (${current.description})`;
        logger.warn('A second control plane was refused', {
          peer: candidate.description,
          current: current.description,
        });
        candidate.refuse(reason);
        return;
      }
      logger.warn(
        takeOver ? 'Another control plane takes over' : 'A control plane that no longer answers makes room for another',
        { peer: candidate.description, from: current.description },
      );
      current.replace();
    }
    const session = candidate.open();
    this.#current = session;
    this.#isCurrentGone = candidate.isGone ?? (() => false);
    // Before anyone else hears of the end, so that the next one is let in.
    void session.closed.then(() => {
      if (this.#current === session) this.#current = null;
    });
    accept(session);
  }
}
