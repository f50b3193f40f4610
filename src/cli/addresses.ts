// Addresses as they are written on the command line: `unix:/path` or `HOST:PORT`, with TLS files or loopback only.
import { ConfigError } from '../base/errors.js';
import type { StreamAddress } from '../transport/socket.js';

/** TLS and plain-text options as commander gives them. */
export interface AddressOptions {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsPeer?: readonly string[];
  readonly plaintext?: boolean;
}

function fail(text: string, what: string): never {
  throw new ConfigError(`Address "${text}" cannot be used: ${what}`, 'address', text, 'command line');
}

/** Splits `HOST:PORT` and `[V6]:PORT`. @throws ConfigError saying what is allowed. */
export function parseHostPort(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port > 65_535)
    return fail(text, 'allowed are unix:/absolute/path, HOST:PORT and [IPv6]:PORT');
  return { host, port };
}

/** Parses an address with its options. @throws ConfigError when TLS files are missing or the form is unknown. */
export function parseStreamAddress(text: string, options: AddressOptions): StreamAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    return path.startsWith('/') ? { path } : fail(text, 'the path after unix: has to be absolute');
  }
  const endpoint = parseHostPort(text);
  const { tlsCert, tlsKey, tlsCa, tlsPeer = [], plaintext = false } = options;
  if (tlsCert !== undefined && tlsKey !== undefined && tlsCa !== undefined) {
    return { ...endpoint, tls: { certFile: tlsCert, keyFile: tlsKey, caFile: tlsCa, peerNames: tlsPeer } };
  }
  if (tlsCert !== undefined || tlsKey !== undefined || tlsCa !== undefined) {
    return fail(text, 'mutual TLS needs all of --tls-cert, --tls-key and --tls-ca');
  }
  return plaintext
    ? { ...endpoint, plaintext: true }
    : fail(text, 'give --tls-cert, --tls-key and --tls-ca, or --plaintext for loopback');
}
