// Matches and targets of legacy rules as bytes, from what the compilers of both variants make of a rule's words: most
// have the same structs in both, some (marks, limits, ports, verdicts, NFLOG) the kernel knows by itself in the nft one.
import { type Expression, VERDICT_CODE } from '../../kernel/netlink/nf-expressions.js';
import { EXTENSION } from '../../kernel/netlink/xtables-socket.js';

/** A target, and the chain that it leads to; `place` is null for one that leads nowhere. */
export interface LegacyTarget {
  readonly bytes: Buffer;
  readonly place: { readonly chain: string | null } | null;
}

const PROTOCOL = { tcp: 6, udp: 17 } as const;
/** xt_limit counts in units of 0.1 ms. */
const LIMIT_SCALE = 10_000;
/** XT_TCP: ports are ranges; bytes of struct xt_tcp and xt_udp. */
const PORTS = { destination: 4, last: 0xffff, bytes: 16, tcpMask: 9, tcpCompared: 10 } as const;
/** FIN, SYN, RST and ACK; SYN. */
const SYN = { mask: 0x17, compared: 0x02 } as const;
const NFLOG = { group: 4, flags: 8, prefix: 12, bytes: 80, copiesLength: 1 } as const;
const ALIGNMENT = 8;

function extension(name: string, revision: number, info: Buffer): Buffer {
  const length = EXTENSION.data + Math.ceil(info.length / ALIGNMENT) * ALIGNMENT;
  const bytes = Buffer.alloc(length);
  bytes.writeUInt16LE(length, 0);
  bytes.write(name, EXTENSION.name, 'latin1');
  bytes[EXTENSION.revision] = revision;
  info.copy(bytes, EXTENSION.data);
  return bytes;
}

/** The match `name` that these expressions stand for; null if they are others than the compiler makes. */
export function matchBytes(name: string, expressions: readonly Expression[]): Buffer | null {
  const [first, second, third] = expressions;
  if (first === undefined) return null;
  if (first.kind === 'match') return extension(first.name, first.revision, first.info);
  if (first.kind === 'limit') {
    const info = Buffer.alloc(40);
    info.writeUInt32LE((LIMIT_SCALE * first.seconds) / first.rate, 0);
    info.writeUInt32LE(first.burst, 4);
    return extension('limit', 0, info);
  }
  if (name === 'mark' && second?.kind === 'bitwise' && third?.kind === 'compare') {
    const info = Buffer.alloc(12);
    third.value.copy(info, 0);
    second.mask.copy(info, 4);
    info[8] = third.negated ? 1 : 0;
    return extension('mark', 1, info);
  }
  return name === 'tcp' ? synMatch() : null;
}

/** `-m tcp --tcp-flags FIN,SYN,RST,ACK SYN`, the one form that is compiled. */
function synMatch(): Buffer {
  const info = anyPorts();
  info[PORTS.tcpMask] = SYN.mask;
  info[PORTS.tcpCompared] = SYN.compared;
  return extension('tcp', 0, info);
}

function anyPorts(): Buffer {
  const info = Buffer.alloc(PORTS.bytes);
  info.writeUInt16LE(PORTS.last, 2);
  info.writeUInt16LE(PORTS.last, PORTS.destination + 2);
  return info;
}

/** The match that `--dport` makes the tool add; null where it would add another. */
export function portMatchBytes(protocol: number, port: number): Buffer | null {
  if (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp) return null;
  const info = anyPorts();
  info.writeUInt16LE(port, PORTS.destination);
  info.writeUInt16LE(port, PORTS.destination + 2);
  return extension(protocol === PROTOCOL.tcp ? 'tcp' : 'udp', 0, info);
}

/** The target that an expression stands for. */
export function targetBytes(expression: Expression): LegacyTarget | null {
  switch (expression.kind) {
    case 'verdict':
      return verdictTarget(expression.code, expression.chain);
    case 'target':
      return { bytes: extension(expression.name, expression.revision, expression.info), place: null };
    case 'log': {
      const info = Buffer.alloc(NFLOG.bytes);
      info.writeUInt32LE(expression.bytes, 0);
      info.writeUInt16LE(expression.group, NFLOG.group);
      info.writeUInt16LE(NFLOG.copiesLength, NFLOG.flags);
      info.write(expression.prefix, NFLOG.prefix, 'latin1');
      return { bytes: extension('NFLOG', 0, info), place: null };
    }
    default:
      return null;
  }
}

function verdictTarget(code: number, chain: string | undefined): LegacyTarget {
  const info = Buffer.alloc(4);
  if (chain !== undefined) return { bytes: extension('', 0, info), place: { chain } };
  info.writeInt32LE(code === VERDICT_CODE.return ? code : -code - 1);
  return { bytes: extension('', 0, info), place: null };
}
