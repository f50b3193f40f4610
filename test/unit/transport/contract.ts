// What every transport promises, as one suite run over each of them: order, back pressure, one control plane at a time,
// and an end that both sides notice.
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import {
  IPSetUpdateSchema,
  ProcessStatusUpdateSchema,
  WorkloadEndpointStatusUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { CloseReason, FromDataplanePayload, ToDataplanePayload } from '../../../src/protocol/session.js';
import {
  type ConnectionOptions,
  type ControlSession,
  type Listener,
  newTransportCounters,
  type Session,
  type SessionAcceptor,
} from '../../../src/transport/session.js';

/** One transport under test. */
export interface TransportUnderTest {
  listen(options: ConnectionOptions & { readonly takeOver: boolean }, accept: SessionAcceptor): Promise<Listener>;
  dial(options: ConnectionOptions): Promise<ControlSession>;
  /** Called after each test. */
  cleanUp(): void;
}

export const ipset = (id: string, members: string[] = []): ToDataplanePayload => ({
  case: 'ipsetUpdate',
  value: create(IPSetUpdateSchema, { id, members }),
});

export const heartbeat: FromDataplanePayload = {
  case: 'processStatusUpdate',
  value: create(ProcessStatusUpdateSchema, { uptime: 1 }),
};

function workloadStatus(endpointId: string, round: number, padding = ''): FromDataplanePayload {
  const value = create(WorkloadEndpointStatusUpdateSchema, {
    id: { endpointId },
    status: { status: `${round}` },
    endpoint: { annotations: { padding } },
  });
  return { case: 'workloadEndpointStatusUpdate', value };
}

/** Collects messages and lets a test wait for a number of them. */
export class Collector<Payload> {
  readonly received: Payload[] = [];
  #wake: () => void = () => undefined;

  readonly handler = (payload: Payload): void => {
    this.received.push(payload);
    this.#wake();
  };

  async atLeast(count: number): Promise<void> {
    while (this.received.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Sessions in the order in which they were accepted. */
export class Sessions {
  readonly all: Session[] = [];
  readonly collectors: Collector<ToDataplanePayload>[] = [];
  #wake: () => void = () => undefined;

  readonly accept: SessionAcceptor = (session) => {
    const collector = new Collector<ToDataplanePayload>();
    session.start(collector.handler);
    this.all.push(session);
    this.collectors.push(collector);
    this.#wake();
  };

  async get(index: number): Promise<{ session: Session; messages: Collector<ToDataplanePayload> }> {
    for (;;) {
      const [session, messages] = [this.all[index], this.collectors[index]];
      if (session !== undefined && messages !== undefined) return { session, messages };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function idsOf(payloads: readonly ToDataplanePayload[]): string[] {
  return payloads.map((payload) => (payload.case === 'ipsetUpdate' ? payload.value.id : payload.case));
}

const options: ConnectionOptions = { logger: silentLogger };

/** The suite. `make` gives a fresh transport for each test. */
export function describeTransport(name: string, make: () => TransportUnderTest): void {
  describe(`${name} transport`, () => {
    let transport: TransportUnderTest;
    let sessions: Sessions;
    let listener: Listener | null;
    let controls: ControlSession[];

    beforeEach(() => {
      transport = make();
      sessions = new Sessions();
      listener = null;
      controls = [];
    });
    afterEach(async () => {
      await Promise.all([...controls, ...sessions.all].map((end) => end.close(50)));
      await listener?.close();
      transport.cleanUp();
    });

    async function listen(takeOver = false, more: Partial<ConnectionOptions> = {}): Promise<void> {
      listener = await transport.listen({ ...options, takeOver, ...more }, sessions.accept);
    }
    async function dial(): Promise<{ control: ControlSession; answers: Collector<FromDataplanePayload> }> {
      const control = await transport.dial(options);
      controls.push(control);
      const answers = new Collector<FromDataplanePayload>();
      control.start(answers.handler);
      return { control, answers };
    }

    it('messages both ways, arrive in order', async () => {
      await listen();
      const { control, answers } = await dial();
      const ids = Array.from({ length: 200 }, (_, index) => `s:${index}`);
      for (const id of ids) control.send(ipset(id));
      const { session, messages } = await sessions.get(0);
      await messages.atLeast(200);
      expect(idsOf(messages.received)).toEqual(ids);
      for (let index = 0; index < 100; index += 1) session.send(workloadStatus(`${index}`, 0));
      await answers.atLeast(100);
      const endpoints = answers.received.map(
        (one) => one.case === 'workloadEndpointStatusUpdate' && one.value.id?.endpointId,
      );
      expect(endpoints).toEqual(Array.from({ length: 100 }, (_, index) => `${index}`));
    });

    it('large message, arrives whole', async () => {
      await listen();
      const { control } = await dial();
      const members = Array.from(
        { length: 400_000 },
        (_, index) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}/32`,
      );
      control.send(ipset('big', members));
      const { messages } = await sessions.get(0);
      await messages.atLeast(1);
      const [payload] = messages.received;
      expect(payload?.case === 'ipsetUpdate' && payload.value.members.length).toBe(400_000);
    });

    it('paused, delivers nothing and makes the sender wait; resumed, delivers all', async () => {
      await listen();
      const { control } = await dial();
      const padding = Array.from({ length: 1000 }, (_, index) => `member-${index}-${'x'.repeat(90)}`);
      control.send(ipset('0'));
      const { session, messages } = await sessions.get(0);
      await messages.atLeast(1);
      session.pause('test');
      for (let index = 1; index <= 100; index += 1) control.send(ipset(`${index}`, padding));
      while (control.sendBacklog === 0) await new Promise((resolve) => setImmediate(resolve));
      expect(messages.received).toHaveLength(1);
      session.resume();
      await messages.atLeast(101);
      expect(idsOf(messages.received)).toEqual(Array.from({ length: 101 }, (_, index) => `${index}`));
    });

    it('paused by the handler in the middle of a burst, delivers nothing more until resumed', async () => {
      const received: string[] = [];
      let session: Session | undefined;
      let isPaused = false;
      const done = new Promise<void>((resolve) => {
        void transport
          .listen({ ...options, takeOver: false }, (accepted) => {
            session = accepted;
            accepted.start((payload) => {
              expect(isPaused).toBe(false);
              received.push(...idsOf([payload]));
              if (received.length === 50) resolve();
              if (received.length % 10 !== 0) return;
              isPaused = true;
              accepted.pause('every tenth');
              setImmediate(() => {
                isPaused = false;
                accepted.resume();
              });
            });
          })
          .then(async (made) => {
            listener = made;
            const { control } = await dial();
            for (let index = 0; index < 50; index += 1) control.send(ipset(`${index}`));
          });
      });
      await done;
      expect(received).toEqual(Array.from({ length: 50 }, (_, index) => `${index}`));
      await session?.close(50);
    });

    it('slow reader of statuses, gets the last one of each endpoint and not all', async () => {
      const counters = newTransportCounters();
      await listen(false, { counters });
      const { control, answers } = await dial();
      control.send(ipset('hello'));
      const { session, messages } = await sessions.get(0);
      await messages.atLeast(1);
      control.pause('slow');
      const padding = 'x'.repeat(20_000);
      for (let round = 0; round < 200; round += 1) {
        for (let index = 0; index < 10; index += 1) session.send(workloadStatus(`${index}`, round, padding));
        await new Promise((resolve) => setImmediate(resolve));
      }
      // One for each endpoint, but for those that a stream took at the very end.
      expect(session.sendBacklog).toBeGreaterThan(0);
      expect(session.sendBacklog).toBeLessThanOrEqual(10);
      control.resume();
      const last = (): Map<string, string> =>
        new Map(
          answers.received.flatMap((one) =>
            one.case === 'workloadEndpointStatusUpdate'
              ? [[one.value.id?.endpointId ?? '', one.value.status?.status ?? '']]
              : [],
          ),
        );
      while ([...last().values()].filter((round) => round === '199').length < 10) {
        await answers.atLeast(answers.received.length + 1);
      }
      expect(answers.received.length).toBeLessThan(2000);
      expect(counters.statusesReplaced).toBe(2000 - answers.received.length);
    });

    it('control plane ends, session ends with eof after all its messages', async () => {
      await listen();
      const { control } = await dial();
      for (let index = 0; index < 100; index += 1) control.send(ipset(`${index}`));
      await control.close();
      const { session, messages } = await sessions.get(0);
      expect(await session.closed).toEqual({ kind: 'eof' });
      expect(messages.received).toHaveLength(100);
      expect(await control.closed).toEqual({ kind: 'closed' });
    });

    it('driver ends, what it sent arrives and the control plane notices', async () => {
      await listen();
      const { control, answers } = await dial();
      control.send(ipset('hello'));
      const { session, messages } = await sessions.get(0);
      await messages.atLeast(1);
      session.send(heartbeat);
      await session.close();
      expect((await control.closed).kind).toBe('eof');
      expect(answers.received).toHaveLength(1);
      expect((await session.closed).kind).toBe('closed');
    });

    it('handler that throws, ends the session with that error', async () => {
      let closed: Promise<CloseReason> | undefined;
      const ended = new Promise<void>((resolve) => {
        void transport
          .listen({ ...options, takeOver: false }, (session) => {
            session.start(() => {
              throw new Error('no such thing');
            });
            closed = session.closed;
            void session.closed.then(() => resolve());
          })
          .then(async (made) => {
            listener = made;
            const { control } = await dial();
            control.send(ipset('x'));
          });
      });
      await ended;
      expect(await closed).toMatchObject({ kind: 'error', error: { message: 'no such thing' } });
    });

    it('message over the limit, ends the session with a protocol error', async () => {
      await listen(false, { maxFrameBytes: 1000 });
      const { control } = await dial();
      control.send(ipset('small'));
      control.send(ipset('big', ['x'.repeat(2000)]));
      const { session, messages } = await sessions.get(0);
      expect(await session.closed).toMatchObject({ kind: 'error', error: { kind: 'protocol' } });
      expect(idsOf(messages.received)).toEqual(['small']);
      await control.closed;
    });

    it('second control plane, is refused and the first goes on', async () => {
      await listen();
      const first = await dial();
      first.control.send(ipset('a'));
      const { messages } = await sessions.get(0);
      await messages.atLeast(1);
      const second = await dial();
      second.control.send(ipset('b'));
      await second.control.closed;
      first.control.send(ipset('c'));
      await messages.atLeast(2);
      expect(idsOf(messages.received)).toEqual(['a', 'c']);
      expect(sessions.all).toHaveLength(1);
    });

    it('second control plane after the first has gone, is let in', async () => {
      await listen();
      const first = await dial();
      first.control.send(ipset('a'));
      const { session } = await sessions.get(0);
      await first.control.close();
      await session.closed;
      const second = await dial();
      second.control.send(ipset('b'));
      const { messages } = await sessions.get(1);
      await messages.atLeast(1);
    });

    it('second control plane with take-over, replaces the first', async () => {
      await listen(true);
      const first = await dial();
      first.control.send(ipset('a'));
      const before = await sessions.get(0);
      await before.messages.atLeast(1);
      const second = await dial();
      second.control.send(ipset('b'));
      expect(await before.session.closed).toEqual({ kind: 'replaced' });
      const after = await sessions.get(1);
      await after.messages.atLeast(1);
      await first.control.closed;
      after.session.send(heartbeat);
      await second.answers.atLeast(1);
    });

    it('connection that says nothing, takes no place', async () => {
      await listen();
      await dial();
      const second = await dial();
      second.control.send(ipset('b'));
      const { messages } = await sessions.get(0);
      await messages.atLeast(1);
      expect(idsOf(messages.received)).toEqual(['b']);
    });

    it('listener closed, its session goes on', async () => {
      await listen();
      const { control } = await dial();
      control.send(ipset('a'));
      const { messages } = await sessions.get(0);
      await messages.atLeast(1);
      await listener?.close();
      control.send(ipset('b'));
      await messages.atLeast(2);
      expect(idsOf(messages.received)).toEqual(['a', 'b']);
    });
  });
}
