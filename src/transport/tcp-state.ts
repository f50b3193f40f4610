// Whether the other end of a TCP connection still answers, as the kernel knows it. Node cannot set TCP_USER_TIMEOUT, so a
// peer that lost its power while a message was on the way to it would count as connected for a quarter of an hour.
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

/** Unanswered tries after which a peer counts as gone; the kernel makes them in about a second and a half. */
const UNANSWERED = 3;

/** Columns of /proc/net/tcp (proc(5)): timer and its time, retransmits and probes, both hexadecimal. */
const COLUMN = { local: 1, remote: 2, state: 3, retransmits: 6, probes: 8 } as const;
const ESTABLISHED = '01';

function portText(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** Whether a line of /proc/net/tcp says that the peer of this pair of ports does not answer; null = another connection. */
export function isUnanswered(line: string, localPort: number, remotePort: number): boolean | null {
  const fields = line.trim().split(/\s+/);
  const { [COLUMN.local]: local = '', [COLUMN.remote]: remote = '' } = fields;
  if (!local.endsWith(`:${portText(localPort)}`) || !remote.endsWith(`:${portText(remotePort)}`)) return null;
  const tries = [COLUMN.retransmits, COLUMN.probes].map((column) => Number.parseInt(fields[column] ?? '0', 16));
  return fields[COLUMN.state] === ESTABLISHED && Math.max(...tries) >= UNANSWERED;
}

/**
 * Whether the peer of a TCP socket has stopped answering. false for unix sockets, and where the kernel does not say. Reads
 * a table of all connections, so it is for rare occasions.
 */
export function isPeerSilent(socket: Socket): boolean {
  const { localPort, remotePort, remoteAddress } = socket;
  if (localPort === undefined || remotePort === undefined || remoteAddress === undefined) return false;
  try {
    const table = readFileSync(remoteAddress.includes(':') ? '/proc/self/net/tcp6' : '/proc/self/net/tcp', 'utf8');
    return table.split('\n').some((line) => isUnanswered(line, localPort, remotePort) === true);
  } catch {
    // Without /proc the kernel's own time-outs decide.
    return false;
  }
}
