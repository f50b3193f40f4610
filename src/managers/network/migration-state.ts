// The states of a live migration as one node sees it, and what a migrated machine's announcement looks like (dataplane.md
// 2.9). Pure.
import type { LiveMigrationState } from '../endpoint-routes.js';

/** What can happen to an endpoint. `announced`: the machine sent a gratuitous ARP or a RARP from its new place. */
export type MigrationInput = 'no-role' | 'source' | 'target' | 'announced' | 'timer' | 'deleted';

/**
 * The next state. `target` has no local routes; `live` and `time-wait` have preferred ones, also when the announcement
 * was missed; the source's routes are normal.
 */
export function nextMigrationState(state: LiveMigrationState, input: MigrationInput): LiveMigrationState {
  if (input === 'deleted' || input === 'source') return 'base';
  switch (state) {
    case 'base':
      return input === 'target' ? 'target' : 'base';
    case 'target':
      if (input === 'announced') return 'live';
      return input === 'no-role' ? 'time-wait' : 'target';
    case 'live':
      return input === 'no-role' ? 'time-wait' : 'live';
    case 'time-wait':
      return input === 'timer' ? 'base' : 'time-wait';
  }
}

const ETHERTYPE_OFFSET = 12;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_RARP = 0x8035;
/** Byte offsets in an Ethernet frame with ARP for IPv4: sender address at 14 + 14, target address at 14 + 24. */
const ARP_SENDER_IP = 28;
const ARP_TARGET_IP = 38;
const IPV4_BYTES = 4;

/** Whether an Ethernet frame is a RARP, or an ARP whose sender and target addresses are the same. */
export function isAnnouncement(frame: Uint8Array): boolean {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  if (bytes.length < ETHERTYPE_OFFSET + 2) return false;
  const etherType = bytes.readUInt16BE(ETHERTYPE_OFFSET);
  if (etherType === ETHERTYPE_RARP) return true;
  if (etherType !== ETHERTYPE_ARP || bytes.length < ARP_TARGET_IP + IPV4_BYTES) return false;
  const sender = bytes.subarray(ARP_SENDER_IP, ARP_SENDER_IP + IPV4_BYTES);
  return sender.equals(bytes.subarray(ARP_TARGET_IP, ARP_TARGET_IP + IPV4_BYTES));
}
