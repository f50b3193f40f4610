// A driver of a few lines for the pipe tests: answers every endpoint update with a status, says why it ended.
import { create } from '@bufbuild/protobuf';
import { silentLogger } from '../../../src/base/logger.js';
import { WorkloadEndpointStatusUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { listen } from '../../../src/transport/pipe.js';

await listen({ logger: silentLogger }, (session) => {
  const seen = new Map<string, number>();
  session.start((payload) => {
    seen.set(payload.case, (seen.get(payload.case) ?? 0) + 1);
    if (payload.case !== 'workloadEndpointUpdate' || payload.value.id === undefined) return;
    session.send({
      case: 'workloadEndpointStatusUpdate',
      value: create(WorkloadEndpointStatusUpdateSchema, { id: payload.value.id, status: { status: 'up' } }),
    });
  });
  void session.closed.then((reason) => {
    const error = reason.kind === 'error' ? reason.error.message : '';
    console.log(JSON.stringify({ kind: reason.kind, error, seen: Object.fromEntries(seen) }));
  });
});
