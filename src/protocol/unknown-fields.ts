// Counts the fields of a decoded message that our schema does not know, at any depth: a newer peer is to be noticed,
// not refused.
import type { DescMessage, Message } from '@bufbuild/protobuf';

/** Reads one place of a message where further messages may be, and hands each to `visit`. */
interface Slot {
  readonly desc: DescMessage;
  visit(message: Message, visit: (inner: Message) => void): void;
}

const slotsByType = new Map<string, readonly Slot[]>();

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && '$typeName' in value;
}

function slotsOf(desc: DescMessage): readonly Slot[] {
  const known = slotsByType.get(desc.typeName);
  if (known !== undefined) return known;
  const slots: Slot[] = [];
  slotsByType.set(desc.typeName, slots);
  for (const field of desc.fields) {
    const { message: inner, oneof, localName } = field;
    if (inner === undefined) continue;
    if (oneof !== undefined) {
      slots.push({
        desc: inner,
        visit: (message, visit) => {
          const chosen: unknown = Reflect.get(message, oneof.localName);
          if (typeof chosen !== 'object' || chosen === null || Reflect.get(chosen, 'case') !== localName) return;
          const value: unknown = Reflect.get(chosen, 'value');
          if (isMessage(value)) visit(value);
        },
      });
      continue;
    }
    slots.push({
      desc: inner,
      visit: (message, visit) => {
        const value: unknown = Reflect.get(message, localName);
        if (isMessage(value)) visit(value);
        else if (Array.isArray(value)) value.filter(isMessage).forEach(visit);
        else if (typeof value === 'object' && value !== null) Object.values(value).filter(isMessage).forEach(visit);
      },
    });
  }
  return slots;
}

/** Fields unknown to `desc` in the message and in all messages below it. Cost follows the number of messages inside. */
export function countUnknownFields(desc: DescMessage, message: Message): number {
  let count = message.$unknown?.length ?? 0;
  for (const slot of slotsOf(desc)) {
    slot.visit(message, (inner) => {
      count += countUnknownFields(slot.desc, inner);
    });
  }
  return count;
}
