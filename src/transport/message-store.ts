// What a control plane has said and not taken back: the last message on each object, so that someone who comes later can be
// told the whole. Keeps the decoded messages themselves, which nobody changes once they were delivered.
import { create } from '@bufbuild/protobuf';
import { batchOrder } from '../protocol/coalesce.js';
import { type IPSetDeltaUpdate, IPSetUpdateSchema } from '../protocol/gen/felix/felixbackend_pb.js';
import { objectKey } from '../protocol/keys.js';
import type { ToDataplanePayload } from '../protocol/session.js';

type SetUpdate = Extract<ToDataplanePayload, { case: 'ipsetUpdate' }>;

/** A set, and what changed since: folded in when there are more changes than members, so that memory follows the set. */
interface KeptSet {
  update: SetUpdate;
  deltas: IPSetDeltaUpdate[];
  changes: number;
}

/** Changes that may wait for a small set. */
const MIN_CHANGES = 1_000;

function folded({ update, deltas }: KeptSet): SetUpdate {
  if (deltas.length === 0) return update;
  const { id, type } = update.value;
  const members = new Set(update.value.members);
  for (const delta of deltas) {
    // In Felix's order (dataplane.md 1.1).
    for (const member of delta.addedMembers) members.add(member);
    for (const member of delta.removedMembers) members.delete(member);
  }
  return { case: 'ipsetUpdate', value: create(IPSetUpdateSchema, { id, type, members: [...members] }) };
}

/** State as messages. Adding costs the size of the message, over time. */
export class MessageStore {
  readonly #messages = new Map<string, ToDataplanePayload>();
  readonly #sets = new Map<string, KeptSet>();

  /** Takes a message in stream order. */
  add(payload: ToDataplanePayload): void {
    if (payload.case === 'ipsetUpdate') this.#sets.set(payload.value.id, { update: payload, deltas: [], changes: 0 });
    else if (payload.case === 'ipsetDeltaUpdate') this.#addDelta(payload.value);
    else if (payload.case === 'ipsetRemove') this.#sets.delete(payload.value.id);
    else {
      const { kind, id } = objectKey(payload);
      const key = `${kind}\0${id}`;
      if (payload.case.endsWith('Remove')) this.#messages.delete(key);
      else this.#messages.set(key, payload);
    }
  }

  /** Everything, references before what refers to them, InSync last if it was said. */
  snapshot(): ToDataplanePayload[] {
    const all = [...this.#messages.values(), ...[...this.#sets.values()].map((set) => folded(set))];
    return all.sort((a, b) => batchOrder(a) - batchOrder(b));
  }

  #addDelta(delta: IPSetDeltaUpdate): void {
    const set = this.#sets.get(delta.id);
    if (set === undefined) return;
    set.deltas.push(delta);
    set.changes += delta.addedMembers.length + delta.removedMembers.length + 1;
    if (set.changes <= Math.max(MIN_CHANGES, set.update.value.members.length)) return;
    set.update = folded(set);
    set.deltas = [];
    set.changes = 0;
  }
}
