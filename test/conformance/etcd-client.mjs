// Runs inside the namespace of an etcd: takes one JSON array a line, [{put, value} | {delete} | {list}], carries it out
// through etcd's JSON gateway, and answers with one line: the keys and values that were listed.
import { createInterface } from 'node:readline';

const base64 = (text) => Buffer.from(text, 'utf8').toString('base64');
const plain = (text) => Buffer.from(text, 'base64').toString('utf8');

async function call(what, body) {
  const answer = await fetch(`http://127.0.0.1:2379/v3/kv/${what}`, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${what}: ${answer.status} ${await answer.text()}`);
  return await answer.json();
}

/** The key after all keys that begin with `prefix`. */
function end(prefix) {
  const bytes = Buffer.from(prefix, 'utf8');
  bytes[bytes.length - 1] += 1;
  return bytes.toString('base64');
}

async function carryOut(request) {
  if (request.put !== undefined) await call('put', { key: base64(request.put), value: base64(request.value) });
  else if (request.delete !== undefined) await call('deleterange', { key: base64(request.delete) });
  else {
    const { kvs = [] } = await call('range', { key: base64(request.list), range_end: end(request.list) });
    return kvs.map(({ key, value }) => [plain(key), plain(value ?? '')]);
  }
  return [];
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const found = [];
    for (const request of JSON.parse(line)) found.push(...(await carryOut(request)));
    console.log(JSON.stringify({ found }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.cause ?? error) }));
  }
}
