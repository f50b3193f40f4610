// Runs inside a network namespace and does what it is asked over IPC: listen, connect, send. Standard library only,
// so that a namespace needs nothing but Node.
import dgram from 'node:dgram';
import net from 'node:net';

const servers = [];
/** How often each address was heard: `port address` → datagrams and connections. */
const heard = new Map();

function hear(port, address) {
  const key = `${port} ${address.replace('::ffff:', '')}`;
  heard.set(key, (heard.get(key) ?? 0) + 1);
}

/** Echo servers, so that "passes" means there and back. */
function listen({ protocol, address, port }) {
  return new Promise((resolve, reject) => {
    if (protocol === 'udp') {
      const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (data, peer) => {
        hear(port, peer.address);
        socket.send(`${peer.address} ${data}`, peer.port, peer.address);
      });
      socket.once('error', reject);
      socket.bind(port, address, () => resolve(true));
      servers.push(socket);
      return;
    }
    const server = net.createServer((socket) => {
      hear(port, socket.remoteAddress ?? '');
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

/** Traffic that runs by itself: `name` → how many exchanges were finished, what went wrong, and how to stop it. */
const traffic = new Map();

/** Calls `action` every `everyMs`, however long it takes; `stop` waits for those that run. */
function repeat(everyMs, action) {
  const running = new Set();
  const timer = setInterval(() => {
    const work = action().finally(() => running.delete(work));
    running.add(work);
  }, everyMs);
  return async () => {
    clearInterval(timer);
    await Promise.all(running);
  };
}

/** Every so many turns a TCP flow instead of a datagram: TCP sends again what is lost, so it sees long gaps only. */
const TCP_EVERY = 8;

/** New flows to each address in turn, most of them UDP, and the open flow `name`: all of them must get through. */
function startAllowed({ name, addresses, port, everyMs, timeoutMs }) {
  const state = { exchanges: 0, faults: [] };
  let turn = 0;
  let flow = Promise.resolve();
  const note = (what, { result }) => {
    state.exchanges += 1;
    if (result !== 'passes') state.faults.push(`${what}: ${result}`);
  };
  const stop = repeat(everyMs, async () => {
    const address = addresses[turn % addresses.length];
    const protocol = turn % TCP_EVERY < addresses.length ? 'tcp' : 'udp';
    turn += 1;
    // One after the other: the echoes of a flow have no numbers.
    if (protocol === 'tcp')
      flow = flow.then(async () => note('the established flow', await checkFlow({ name, timeoutMs })));
    note(`${protocol} ${address}`, await connect({ protocol, address, port, timeoutMs }));
  });
  traffic.set(name, { state, stop: async () => (await stop(), await flow) });
  return Promise.resolve(true);
}

/** Datagrams to each address and a connection now and then: none may be heard there. `heard` tells, no echo is awaited. */
function startDenied({ name, addresses, port, everyMs, timeoutMs }) {
  const state = { exchanges: 0, faults: [] };
  const sockets = addresses.map((address) => ({
    address,
    socket: dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4'),
  }));
  for (const { address, socket } of sockets) {
    socket.on('message', () => state.faults.push(`udp ${address}: passes`));
    socket.on('error', () => undefined);
  }
  let turn = 0;
  const stop = repeat(everyMs, async () => {
    const { address, socket } = sockets[turn % sockets.length];
    turn += 1;
    state.exchanges += 1;
    socket.send('ping', port, address, () => undefined);
    if (turn % (TCP_EVERY * 4) >= addresses.length) return;
    const { result } = await connectTcp({ address, port, timeoutMs });
    if (result === 'passes') state.faults.push(`tcp ${address}: passes`);
  });
  const close = async () => {
    await stop();
    for (const { socket } of sockets) socket.close();
  };
  traffic.set(name, { state, stop: close });
  return Promise.resolve(true);
}

function trafficState({ name }) {
  return Promise.resolve(traffic.get(name).state);
}

async function stopTraffic({ name }) {
  const { state, stop } = traffic.get(name);
  await stop();
  traffic.delete(name);
  return state;
}

/** How often any of the addresses reached the port here. */
function countHeard({ port, addresses }) {
  return Promise.resolve(addresses.reduce((sum, address) => sum + (heard.get(`${port} ${address}`) ?? 0), 0));
}

const operations = {
  'start-allowed': startAllowed,
  'start-denied': startDenied,
  'traffic-state': trafficState,
  'stop-traffic': stopTraffic,
  heard: countHeard,
  listen,
  connect,
  'open-flow': openFlow,
  'check-flow': checkFlow,
  'close-flow': closeFlow,
};

process.on('message', ({ id, operation, argument }) => {
  operations[operation](argument).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send({ ready: true });
