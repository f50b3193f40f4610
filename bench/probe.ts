// A probe process inside a pod's namespace: `send ADDRESS PORT` sends a UDP packet a millisecond that carries its time,
// `receive PORT` reports the packets to its parent over IPC. Times are nanoseconds of the monotonic clock.
import { createSocket } from 'node:dgram';

/** A packet that arrived: when it was sent and when it was seen. */
export type Arrival = readonly [sentNs: number, seenNs: number];

const REPORT_MS = 2;

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

function send(address: string, port: number): void {
  const socket = createSocket('udp4');
  const packet = Buffer.alloc(8);
  // An unreachable network is what some of the measured times consist of.
  socket.on('error', () => undefined);
  setInterval(() => {
    packet.writeDoubleLE(nowNs());
    socket.send(packet, port, address, () => undefined);
  }, 1);
}

function receive(port: number): void {
  const socket = createSocket('udp4');
  let arrivals: Arrival[] = [];
  socket.on('message', (packet) => arrivals.push([packet.readDoubleLE(), nowNs()]));
  socket.bind(port, () => process.send?.([]));
  setInterval(() => {
    if (arrivals.length === 0) return;
    process.send?.(arrivals);
    arrivals = [];
  }, REPORT_MS);
}

const [role, ...rest] = process.argv.slice(2);
process.on('disconnect', () => process.exit(0));
if (role === 'send') send(rest[0] ?? '', Number(rest[1]));
if (role === 'receive') receive(Number(rest[0]));
