// The relay's command line: options from arguments or, since Felix gives none, from the environment. Parsed by hand, so
// that the relay starts without a library.
import { relay } from './relay.js';
import type { StreamAddress } from './stream-listener.js';

const USAGE = `Usage: felix-dataplane relay [--to ADDRESS] [--grpc] [--plaintext] [--tls-cert F --tls-key F --tls-ca F [--tls-peer NAME]]
  ADDRESS is unix:/path, HOST:PORT or [IPv6]:PORT; default DATAPLANE_SERVICE or unix:/run/felix-dataplane.sock.
  Every option can be set in the environment: DATAPLANE_SERVICE, DATAPLANE_SERVICE_GRPC=true,
  DATAPLANE_SERVICE_PLAINTEXT=true, DATAPLANE_TLS_CERT, DATAPLANE_TLS_KEY, DATAPLANE_TLS_CA, DATAPLANE_TLS_PEER
  (the name in the service's certificate; default: the host of the address).`;
const DEFAULT_SERVICE = 'unix:/run/felix-dataplane.sock';
const EXIT = { ok: 0, unreachable: 69, usage: 64 } as const;

interface Settings {
  to: string;
  grpc: boolean;
  plaintext: boolean;
  cert: string | undefined;
  key: string | undefined;
  ca: string | undefined;
  peer: string | undefined;
}

function readSettings(args: readonly string[], environment: NodeJS.ProcessEnv): Settings | null {
  const settings: Settings = {
    to: environment['DATAPLANE_SERVICE'] ?? DEFAULT_SERVICE,
    grpc: environment['DATAPLANE_SERVICE_GRPC'] === 'true',
    plaintext: environment['DATAPLANE_SERVICE_PLAINTEXT'] === 'true',
    cert: environment['DATAPLANE_TLS_CERT'],
    key: environment['DATAPLANE_TLS_KEY'],
    ca: environment['DATAPLANE_TLS_CA'],
    peer: environment['DATAPLANE_TLS_PEER'],
  };
  const rest = [...args];
  if (rest[0] === 'relay') rest.shift();
  while (rest.length > 0) {
    const option = rest.shift();
    if (option === '--grpc') settings.grpc = true;
    else if (option === '--plaintext') settings.plaintext = true;
    else {
      const value = rest.shift();
      if (value === undefined) return null;
      if (option === '--to') settings.to = value;
      else if (option === '--tls-cert') settings.cert = value;
      else if (option === '--tls-key') settings.key = value;
      else if (option === '--tls-ca') settings.ca = value;
      else if (option === '--tls-peer') settings.peer = value;
      else return null;
    }
  }
  return settings;
}

function addressOf(settings: Settings): StreamAddress | null {
  const { to, cert, key, ca, peer } = settings;
  if (to.startsWith('unix:/')) return { path: to.slice('unix:'.length) };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(to);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) return null;
  if (cert !== undefined && key !== undefined && ca !== undefined) {
    return {
      host,
      port,
      tls: { certFile: cert, keyFile: key, caFile: ca, peerNames: peer === undefined ? [] : [peer] },
    };
  }
  return settings.plaintext ? { host, port, plaintext: true } : null;
}

/** Runs the relay; resolves with the exit code. Felix takes any end for a failure and restarts the relay. */
export async function relayMain(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const log = (line: string): void => console.error(`felix-dataplane relay: ${line}`);
  const settings = readSettings(args, environment);
  const address = settings === null ? null : addressOf(settings);
  if (settings === null || address === null) {
    console.error(USAGE);
    return EXIT.usage;
  }
  const end = await relay({ address, protocol: settings.grpc ? 'grpc' : 'frames', log });
  log(end);
  if (end === 'not started by felix') return EXIT.usage;
  return end === 'service unreachable' ? EXIT.unreachable : EXIT.ok;
}
