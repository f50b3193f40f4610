// Runs inside a pod. `echo PORT…` answers every UDP packet; `send ADDRESS PORT INTERVAL same|fresh` sends numbered packets
// that often, all from one port or each from a new one. Ends with its input; the last line says what was seen.
import dgram from 'node:dgram';

const [role, ...rest] = process.argv.slice(2);
const LINGER_MS = 1500;
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

function whenTold(finish) {
  process.stdin.resume();
  process.stdin.once('end', finish);
}

function echo(ports) {
  let open = 0;
  const taken = Object.fromEntries(ports.map((port) => [port, 0]));
  for (const port of ports) {
    const socket = dgram.createSocket('udp6');
    socket.on('message', (data, peer) => {
      taken[port] += 1;
      socket.send(data, peer.port, peer.address);
    });
    socket.bind(Number(port), '::', () => {
      open += 1;
      if (open === ports.length) say({ ready: true });
    });
  }
  whenTold(() => {
    say({ taken });
    process.exit(0);
  });
}

function send(address, port, interval, kind) {
  const waiting = new Map();
  let sent = 0;
  let answered = 0;
  const open = () => {
    const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', (data) => {
      if (!waiting.delete(String(data))) return;
      answered += 1;
      if (answered === 1) say({ ready: true });
      if (kind === 'fresh') socket.close();
    });
    // A refusal is an answer that does not come.
    socket.on('error', () => undefined);
    return socket;
  };
  const own = kind === 'same' ? open() : null;
  const timer = setInterval(() => {
    const number = String(sent);
    const socket = own ?? open();
    sent += 1;
    waiting.set(number, Date.now());
    socket.send(number, Number(port), address);
    if (own === null)
      setTimeout(() => {
        if (waiting.has(number)) socket.close();
      }, LINGER_MS).unref();
  }, Number(interval));
  whenTold(() => {
    clearInterval(timer);
    setTimeout(() => {
      say({
        sent,
        answered,
        lost: [...waiting].slice(0, 5).map(([number, at]) => [number, new Date(at).toISOString()]),
      });
      process.exit(0);
    }, LINGER_MS);
  });
}

if (role === 'echo') echo(rest);
else send(...rest);
