// The control plane's view of endpoint status at the end of a step, in the form of `status.txt` of the recordings.
import { toJson } from '@bufbuild/protobuf';
import { type FromDataplane, FromDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Keys sorted at every depth, so that equal values give equal text. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    const keys = Object.keys(value).sort();
    return `{${keys.map((key) => `${JSON.stringify(key)}: ${canonicalJson(value[key] ?? null)}`).join(', ')}}`;
  }
  return JSON.stringify(value);
}

function endpointKey(message: FromDataplane): string | null {
  const payload = message.payload;
  switch (payload.case) {
    case 'workloadEndpointStatusUpdate':
    case 'workloadEndpointStatusRemove':
      return `w/${payload.value.id?.orchestratorId}/${payload.value.id?.workloadId}/${payload.value.id?.endpointId}`;
    case 'hostEndpointStatusUpdate':
    case 'hostEndpointStatusRemove':
      return `h/${payload.value.id?.endpointId}`;
    case 'wireguardStatusUpdate':
      return `wg/${payload.value.ipVersion}`;
    default:
      return null;
  }
}

/** Last message on each endpoint among `messages`, and DataplaneInSync if `inSync`; sorted lines. */
export function statusText(messages: readonly FromDataplane[], inSync: boolean): string {
  const last = new Map<string, string>();
  for (const message of messages) {
    const key = endpointKey(message);
    if (key === null) continue;
    const json = toJson(FromDataplaneSchema, message, { useProtoFieldName: true }) as Record<string, Json>;
    delete json['sequence_number'];
    last.set(key, canonicalJson(json));
  }
  const rows = [...last.values(), ...(inSync ? ['{"dataplane_in_sync": {}}'] : [])].sort();
  return rows.length === 0 ? '' : `${rows.join('\n')}\n`;
}
