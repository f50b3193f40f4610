// Runs inside a network namespace and does what it is asked over IPC: listen, connect, send. Standard library only,
// so that a namespace needs nothing but Node.
import dgram from 'node:dgram';
import net from 'node:net';

const servers = [];

/** Echo servers, so that "passes" means there and back. */
function listen({ protocol, address, port }) {
  return new Promise((resolve, reject) => {
    if (protocol === 'udp') {
      const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (data, peer) => socket.send(`${peer.address} ${data}`, peer.port, peer.address));
      socket.once('error', reject);
      socket.bind(port, address, () => resolve(true));
      servers.push(socket);
      return;
    }
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(`${socket.remoteAddress} ${data}`));
    });
    server.once('error', reject);
    server.listen(port, address, () => resolve(true));
    servers.push(server);
  });
}

/** `{ result: 'passes' | 'dropped' | 'refused' | 'unreachable', seenAs }`: what the other side saw as our address. */
function connect({ protocol, address, port, timeoutMs, source, sourcePort }) {
  return protocol === 'udp'
    ? sendUdp({ address, port, timeoutMs, source, sourcePort })
    : connectTcp({ address, port, timeoutMs, source, sourcePort });
}

function outcomeOf(error) {
  if (error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET') return { result: 'refused' };
  return { result: error.code === 'ETIMEDOUT' ? 'dropped' : 'unreachable', detail: error.code };
}

function connectTcp({ address, port, timeoutMs, source, sourcePort }) {
  return new Promise((resolve) => {
    const socket = net.connect({ host: address, port, localAddress: source, localPort: sourcePort });
    const finish = (outcome) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => finish({ result: 'dropped' }), timeoutMs);
    socket.once('connect', () => socket.write('ping'));
    socket.once('data', (data) =>
      finish({ result: 'passes', seenAs: String(data).split(' ')[0].replace('::ffff:', '') }),
    );
    socket.once('error', (error) => finish(outcomeOf(error)));
  });
}

function sendUdp({ address, port, timeoutMs, source, sourcePort }) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const finish = (outcome) => {
      clearTimeout(timer);
      socket.close();
      resolve(outcome);
    };
    const timer = setTimeout(() => finish({ result: 'dropped' }), timeoutMs);
    socket.once('message', (data) =>
      finish({ result: 'passes', seenAs: String(data).split(' ')[0].replace('::ffff:', '') }),
    );
    socket.once('error', (error) => finish(outcomeOf(error)));
    socket.bind(sourcePort ?? 0, source, () => {
      // Connected, so that an ICMP error comes back as an error of this socket.
      socket.connect(port, address, (error) => {
        if (error) finish(outcomeOf(error));
        else socket.send('ping', (problem) => problem && finish(outcomeOf(problem)));
      });
    });
  });
}

const flows = new Map();

/** Opens a TCP flow that stays open; `flow-check` sends over it and waits for the echo. */
function openFlow({ name, address, port, timeoutMs }) {
  return new Promise((resolve) => {
    const socket = net.connect({ host: address, port });
    const timer = setTimeout(() => {
      socket.destroy();
      resolve({ result: 'dropped' });
    }, timeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      flows.set(name, socket);
      resolve({ result: 'passes' });
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      flows.delete(name);
      resolve(outcomeOf(error));
    });
  });
}

function checkFlow({ name, timeoutMs }) {
  return new Promise((resolve) => {
    const socket = flows.get(name);
    if (socket === undefined) return resolve({ result: 'refused' });
    const timer = setTimeout(() => resolve({ result: 'dropped' }), timeoutMs);
    socket.once('data', () => {
      clearTimeout(timer);
      resolve({ result: 'passes' });
    });
    socket.write('ping');
  });
}

function closeFlow({ name }) {
  flows.get(name)?.destroy();
  flows.delete(name);
  return Promise.resolve(true);
}

const operations = { listen, connect, 'open-flow': openFlow, 'check-flow': checkFlow, 'close-flow': closeFlow };

process.on('message', ({ id, operation, argument }) => {
  operations[operation](argument).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send({ ready: true });
