// A store that applies messages one by one in the plainest way: what merging has to be equal to.
import { create, toBinary } from '@bufbuild/protobuf';
import { type ToDataplane, ToDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { objectKey } from '../../../src/protocol/keys.js';
import type { ToDataplanePayload } from '../../../src/protocol/session.js';

interface StoredSet {
  readonly type: number | null;
  readonly members: Set<string>;
}

/** Objects by kind and id; sets by their members. A set that only deltas are known of is kept with an open base. */
export class ReferenceStore {
  readonly #objects = new Map<string, ToDataplane['payload']>();
  readonly #sets = new Map<string, StoredSet>();
  /** For sets known by deltas only: members whose removal was asked for. */
  readonly #absent = new Map<string, Set<string>>();
  readonly #removedSets = new Set<string>();

  applyAll(messages: readonly ToDataplanePayload[]): void {
    for (const message of messages) this.apply(message);
  }

  apply(message: ToDataplanePayload): void {
    switch (message.case) {
      case 'ipsetUpdate':
        this.#sets.set(message.value.id, { type: message.value.type, members: new Set(message.value.members) });
        this.#absent.delete(message.value.id);
        this.#removedSets.delete(message.value.id);
        return;
      case 'ipsetDeltaUpdate':
        this.#applyDelta(message.value.id, message.value.addedMembers, message.value.removedMembers);
        return;
      case 'ipsetRemove':
        this.#sets.delete(message.value.id);
        this.#absent.delete(message.value.id);
        this.#removedSets.add(message.value.id);
        return;
      default: {
        const { kind, id } = objectKey(message);
        if (message.case.endsWith('Remove')) this.#objects.delete(`${kind} ${id}`);
        else this.#objects.set(`${kind} ${id}`, message);
      }
    }
  }

  /** Everything as comparable values. */
  dump(): unknown {
    const objects = [...this.#objects].map(([key, payload]) => {
      const bytes = toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { payload }));
      return [key, Buffer.from(bytes).toString('hex')];
    });
    const sets = [...this.#sets].map(([id, set]) => [
      id,
      set.type,
      [...set.members].sort(),
      set.type === null ? [...(this.#absent.get(id) ?? [])].sort() : [],
    ]);
    return { objects: objects.sort(), sets: sets.sort() };
  }

  /** References to what is not there. */
  danglingReferences(): string[] {
    const dangling: string[] = [];
    for (const payload of this.#objects.values()) {
      if (payload.case === 'activePolicyUpdate') {
        const ids = payload.value.policy?.inboundRules.flatMap((rule) => rule.srcIpSetIds) ?? [];
        dangling.push(...ids.filter((id) => !this.#sets.has(id)));
      }
      if (payload.case === 'workloadEndpointUpdate') {
        const ids = payload.value.endpoint?.tiers.flatMap((tier) => tier.ingressPolicies) ?? [];
        for (const { name } of ids)
          if (![...this.#objects.keys()].some((key) => key.endsWith(`\0${name}`))) dangling.push(name);
      }
    }
    return dangling;
  }

  #applyDelta(id: string, added: readonly string[], removed: readonly string[]): void {
    // A delta for a set that was removed is against the protocol and changes nothing.
    if (this.#removedSets.has(id)) return;
    const set = this.#sets.get(id) ?? { type: null, members: new Set<string>() };
    const absent = this.#absent.get(id) ?? new Set<string>();
    this.#sets.set(id, set);
    this.#absent.set(id, absent);
    for (const member of added) {
      set.members.add(member);
      absent.delete(member);
    }
    for (const member of removed) {
      set.members.delete(member);
      absent.add(member);
    }
  }
}
