// A control plane in the test process: dials a service and sends it recorded frames.
import { create, fromBinary } from '@bufbuild/protobuf';
import { silentLogger } from '../../../src/base/logger.js';
import {
  type FromDataplane,
  FromDataplaneSchema,
  ToDataplaneSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ControlSession, ToDataplanePayload } from '../../../src/protocol/session.js';
import * as grpc from '../../../src/transport/grpc.js';
import * as socket from '../../../src/transport/socket.js';
import { waitFor } from './driver-process.js';

/** An open session and what came over it. */
export class TestControl {
  readonly received: FromDataplane[] = [];
  readonly session: ControlSession;

  constructor(session: ControlSession) {
    this.session = session;
    session.start((payload) => this.received.push(create(FromDataplaneSchema, { payload })));
  }

  /** Dials a service on a unix socket. */
  static async dial(path: string, protocol: 'frames' | 'grpc' = 'frames'): Promise<TestControl> {
    const options = { address: { path }, logger: silentLogger };
    return new TestControl(await (protocol === 'grpc' ? grpc.dial(options) : socket.dial(options)));
  }

  get inSync(): boolean {
    return this.received.some((message) => message.payload.case === 'dataplaneInSync');
  }

  send(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      const { payload } = fromBinary(ToDataplaneSchema, frame);
      if (payload.case !== undefined) this.session.send(payload);
    }
  }

  sendPayloads(payloads: readonly ToDataplanePayload[]): void {
    for (const payload of payloads) this.session.send(payload);
  }

  async waitInSync(describe: () => string): Promise<void> {
    await waitFor(() => this.inSync, describe);
  }
}
