// Decoders of the single values that Calico and Kubernetes resources are made of (limits: calc-graph.md section 17).
import { errorMessage } from '../../base/errors.js';
import { type Address, type Cidr, parseAddress, parseCidrOrAddress, parseInterfaceAddress } from '../net/cidr.js';
import { SelectorError } from '../selector/parser.js';
import { parseSelector } from '../selector/selector.js';
import { type Decoder, map, parsed, text } from './decoder.js';

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Name of a resource: DNS-1123 subdomain of at most 253 characters. */
export const resourceName: Decoder<string> = map(text('a name'), (value, cursor) =>
  value.length <= 253 && SUBDOMAIN.test(value)
    ? value
    : cursor.reject(
        `must be a name of at most 253 lower-case letters, digits, - and ., that starts and ends with a letter or digit, not ${JSON.stringify(value)}`,
      ),
);

/** A selector that parses; the text as written. `global()` is refused unless it stands alone and `allowGlobal` is set. */
export function selectorText(allowGlobal = false): Decoder<string> {
  return map(text('a selector'), (value, cursor) => {
    try {
      const selector = parseSelector(value);
      if (selector.text.includes('global()') && (!allowGlobal || selector.text !== 'global()')) {
        cursor.reject('global() is allowed only alone, in the namespaceSelector of a rule');
      }
      return value;
    } catch (error) {
      if (error instanceof SelectorError) cursor.reject(errorMessage(error));
      throw error;
    }
  });
}

/** A prefix with mask, host bits cleared. */
export const cidr: Decoder<Cidr> = parsed('a prefix such as 10.0.0.0/8 or fd00::/64', (value) =>
  value.includes('/') ? parseCidrOrAddress(value) : undefined,
);

/** A prefix or a single address. */
export const cidrOrAddress: Decoder<Cidr> = parsed('a prefix or an address', parseCidrOrAddress);

/** A single address, also written as /32 or /128. */
export const singleAddress: Decoder<Cidr> = parsed('a single address such as 10.65.0.2/32', (value) => {
  const found = parseCidrOrAddress(value);
  return found !== undefined && found.length === (found.family === 4 ? 32 : 128) ? found : undefined;
});

/** An address without mask. */
export const address: Decoder<Address> = parsed('an address such as 10.65.0.2 or fd00::2', parseAddress);

/** An address, with or without prefix length; the text as written. */
export const nodeAddress: Decoder<string> = parsed('an address such as 192.168.0.1/24', (value) =>
  (value.includes('/') ? parseInterfaceAddress(value) : parseAddress(value)) === undefined ? undefined : value,
);

/** A MAC address; lower case with colons, or empty. */
export const mac: Decoder<string> = parsed('a MAC address such as ee:ee:ee:00:00:01', (value) => {
  const lower = value.toLowerCase().replaceAll('-', ':');
  return value === '' || /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(lower) ? lower : undefined;
});

/** One port or range by number, or a port by name. */
export type PortMatch = { readonly first: number; readonly last: number } | { readonly name: string };

/** `80`, `1024:2048` or a name. */
export const portMatch: Decoder<PortMatch> = parsed(
  'a port from 1 to 65535, a range such as 1024:2048, or a name',
  (value) => {
    const range = /^(\d+)(?::(\d+))?$/.exec(value);
    if (range === null) return /^[a-zA-Z0-9_.-]{1,128}$/.test(value) ? { name: value } : undefined;
    const first = Number(range[1]);
    const last = Number(range[2] ?? range[1]);
    return first >= 1 && last <= 65535 && first <= last ? { first, last } : undefined;
  },
);

/** A protocol: the number, or the name in lower case. A quoted number is a name of digits, as in Felix. */
export type ProtocolMatch = number | string;

const PROTOCOLS = ['TCP', 'UDP', 'ICMP', 'ICMPv6', 'SCTP', 'UDPLite'];

/** `TCP`, `UDP`, `ICMP`, `ICMPv6`, `SCTP`, `UDPLite`, or 1 to 255. */
export const protocolMatch: Decoder<ProtocolMatch> = (cursor) =>
  parsed<ProtocolMatch>(`one of ${PROTOCOLS.join(', ')} or a number from 1 to 255`, (value) => {
    if (PROTOCOLS.includes(value)) return value.toLowerCase();
    const code = Number(value);
    if (!/^\d+$/.test(value) || code < 1 || code > 255) return undefined;
    return cursor.isNumber() ? code : value;
  })(cursor);

const DSCP_NAMES = new Map<string, number>([
  ['DF', 0],
  ['EF', 46],
  ...[1, 2, 3, 4].flatMap((x) => [1, 2, 3].map((y): [string, number] => [`AF${x}${y}`, 8 * x + 2 * y])),
  ...[0, 1, 2, 3, 4, 5, 6].map((n): [string, number] => [`CS${n}`, 8 * n]),
]);

/** A DSCP value 0–63 from its number or name in any case; undefined if it is neither. */
export function parseDscp(value: string): number | undefined {
  const named = DSCP_NAMES.get(value.toUpperCase());
  if (named !== undefined) return named;
  return /^\d{1,2}$/.test(value) && Number(value) <= 63 ? Number(value) : undefined;
}

/** A DSCP value. */
export const dscp: Decoder<number> = parsed(
  'a DSCP name (DF, EF, AF11–AF43, CS0–CS6) or a number from 0 to 63',
  parseDscp,
);
