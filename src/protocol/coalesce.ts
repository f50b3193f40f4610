// The queue between reading and applying: messages merge per object, so that one apply covers all that waited and
// memory follows the number of objects, not of messages. A batch comes out in the order that Felix guarantees within
// one flush (dataplane.md 0.3).
import { create } from '@bufbuild/protobuf';
import { type IPSetDeltaUpdate, IPSetDeltaUpdateSchema, IPSetUpdateSchema } from './gen/felix/felixbackend_pb.js';
import { objectKey } from './keys.js';
import type { ToDataplanePayload } from './session.js';

type PayloadCase = ToDataplanePayload['case'];

/**
 * Place of each payload in a batch. References come before what refers to them and leave after it; in-sync comes last
 * because it speaks of everything before it.
 */
const BATCH_ORDER: Readonly<Record<PayloadCase, number>> = {
  configUpdate: 1,
  ipsetUpdate: 2,
  ipsetDeltaUpdate: 3,
  activePolicyUpdate: 4,
  activeProfileUpdate: 5,
  workloadEndpointUpdate: 6,
  hostEndpointUpdate: 6,
  workloadEndpointRemove: 7,
  hostEndpointRemove: 7,
  activeProfileRemove: 8,
  activePolicyRemove: 9,
  ipsetRemove: 10,
  serviceAccountRemove: 11,
  serviceAccountUpdate: 12,
  namespaceRemove: 13,
  namespaceUpdate: 14,
  routeRemove: 15,
  vtepRemove: 16,
  vtepUpdate: 17,
  routeUpdate: 18,
  wireguardEndpointRemove: 19,
  wireguardEndpointUpdate: 20,
  wireguardEndpointV6Remove: 21,
  wireguardEndpointV6Update: 22,
  hostMetadataRemove: 23,
  hostMetadataUpdate: 24,
  ipamPoolRemove: 25,
  ipamPoolUpdate: 26,
  encapsulation: 27,
  globalBgpConfigUpdate: 28,
  serviceRemove: 29,
  serviceUpdate: 30,
  inSync: 31,
};

/** The place of a payload among others of one batch: lower goes first. */
export function batchOrder(payload: ToDataplanePayload): number {
  return BATCH_ORDER[payload.case];
}

/** Rough cost of one set member in a merged message: tag, length and text are counted by their characters. */
function membersSize(members: readonly string[]): number {
  let size = 0;
  for (const member of members) size += member.length + 2;
  return size;
}

/** Pending full membership; `members` is opened as a set by the first delta and only then. */
interface PendingSet {
  readonly kind: 'set';
  readonly payload: Extract<ToDataplanePayload, { case: 'ipsetUpdate' }>;
  members: Set<string> | null;
}

/** Pending change of membership: the last word on each member. */
interface PendingDelta {
  readonly kind: 'delta';
  readonly id: string;
  readonly isAdded: Map<string, boolean>;
}

interface PendingMessage {
  readonly kind: 'message';
  readonly payload: ToDataplanePayload;
}

interface Entry {
  pending: PendingSet | PendingDelta | PendingMessage;
  sizeBytes: number;
}

/** Everything that waited, in legal order, each object at most once (a set: at most one update or one delta). */
export interface Batch {
  readonly messages: readonly ToDataplanePayload[];
  /** Messages that were merged away: taken in less given out. */
  readonly mergedAway: number;
}

/** Queue options. */
export interface MessageQueueOptions {
  /** Bound above which `isFull` holds; the queue itself never refuses a message. Encoded bytes, roughly. */
  readonly maxBytes?: number;
}

/** 64 MiB of encoded messages: about four million set members, or a hundred thousand endpoints. */
export const DEFAULT_MAX_QUEUE_BYTES = 64 * 1024 * 1024;

/**
 * Merging queue. Applying a batch leaves a store in the state that applying the raw messages would leave it in.
 * Adding costs the size of the message; taking costs the size of what waits.
 */
export class MessageQueue {
  readonly #maxBytes: number;
  #entries = new Map<string, Entry>();
  #bytes = 0;
  #added = 0;

  constructor(options: MessageQueueOptions = {}) {
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_QUEUE_BYTES;
  }

  /** More than the bound waits: whoever reads should stop until the next `take`. */
  get isFull(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** Objects that wait. */
  get depth(): number {
    return this.#entries.size;
  }

  /** Encoded size of what waits, roughly. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Takes a message in stream order. `sizeBytes` is its encoded size (MessageOrigin). Never throws. */
  add(payload: ToDataplanePayload, sizeBytes: number): void {
    this.#added += 1;
    const { kind, id } = objectKey(payload);
    const key = `${kind}\0${id}`;
    const entry = this.#entries.get(key);
    if (payload.case === 'ipsetDeltaUpdate') {
      this.#addDelta(key, entry, payload.value);
      return;
    }
    const pending: Entry['pending'] =
      payload.case === 'ipsetUpdate' ? { kind: 'set', payload, members: null } : { kind: 'message', payload };
    this.#put(key, entry, pending, sizeBytes);
  }

  /** Gives out everything that waits and empties the queue. */
  take(): Batch {
    const messages = [...this.#entries.values()].map((entry) => finish(entry.pending));
    // Sorting is stable: within a class, objects keep the order of their first message.
    messages.sort((a, b) => BATCH_ORDER[a.case] - BATCH_ORDER[b.case]);
    const mergedAway = this.#added - messages.length;
    this.#entries = new Map();
    this.#bytes = 0;
    this.#added = 0;
    return { messages, mergedAway };
  }

  #put(key: string, entry: Entry | undefined, pending: Entry['pending'], sizeBytes: number): void {
    this.#bytes += sizeBytes - (entry?.sizeBytes ?? 0);
    this.#entries.set(key, { pending, sizeBytes });
  }

  #addDelta(key: string, entry: Entry | undefined, delta: IPSetDeltaUpdate): void {
    if (entry === undefined) {
      entry = { pending: { kind: 'delta', id: delta.id, isAdded: new Map() }, sizeBytes: 0 };
      this.#entries.set(key, entry);
    }
    const { pending } = entry;
    // A delta for a set that is going away has nothing to change: the set is gone either way.
    if (pending.kind === 'message') return;
    const grown = pending.kind === 'set' ? mergeIntoSet(pending, delta) : mergeIntoDelta(pending.isAdded, delta);
    entry.sizeBytes += grown;
    this.#bytes += grown;
  }
}

/** Felix applies the additions of a delta before its removals (dataplane.md 1.1), and so does every merge here. */
function mergeIntoSet(pending: PendingSet, delta: IPSetDeltaUpdate): number {
  pending.members ??= new Set(pending.payload.value.members);
  const { members } = pending;
  let grown = 0;
  for (const member of delta.addedMembers) {
    if (members.has(member)) continue;
    members.add(member);
    grown += member.length + 2;
  }
  for (const member of delta.removedMembers) {
    if (members.delete(member)) grown -= member.length + 2;
  }
  return grown;
}

function mergeIntoDelta(isAdded: Map<string, boolean>, delta: IPSetDeltaUpdate): number {
  const before = isAdded.size;
  for (const member of delta.addedMembers) isAdded.set(member, true);
  for (const member of delta.removedMembers) isAdded.set(member, false);
  const seen = delta.addedMembers.length + delta.removedMembers.length;
  if (seen === 0) return 0;
  const meanSize = (membersSize(delta.addedMembers) + membersSize(delta.removedMembers)) / seen;
  return Math.ceil((isAdded.size - before) * meanSize);
}

function finish(pending: Entry['pending']): ToDataplanePayload {
  switch (pending.kind) {
    case 'message':
      return pending.payload;
    case 'set': {
      if (pending.members === null) return pending.payload;
      const { id, type } = pending.payload.value;
      return { case: 'ipsetUpdate', value: create(IPSetUpdateSchema, { id, type, members: [...pending.members] }) };
    }
    case 'delta': {
      const addedMembers: string[] = [];
      const removedMembers: string[] = [];
      for (const [member, isAdded] of pending.isAdded) (isAdded ? addedMembers : removedMembers).push(member);
      const value = create(IPSetDeltaUpdateSchema, { id: pending.id, addedMembers, removedMembers });
      return { case: 'ipsetDeltaUpdate', value };
    }
  }
}
