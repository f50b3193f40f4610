// The ipset subsystem of nfnetlink (include/uapi/linux/netfilter/ipset/ip_set.h): create, list, add, delete, swap,
// destroy. About five times cheaper a member than ipset's text.
import { type Cidr, parseCidr, parseIpv4 } from '../../base/ip.js';
import { NetlinkError } from '../../base/errors.js';
import { addressBytes } from './address-bytes.js';
import { IpsetDigest, type IpsetListing, IpsetReader } from './ipset-read.js';
import type { NativeLibrary } from './library.js';
import {
  attributeText,
  FLAG,
  MessageWriter,
  NFGENMSG_LENGTH,
  parseAttributes,
  type ReceivedMessage,
} from './message.js';
import { type Acknowledgement, NETLINK, NetlinkSocket, throwFailure } from './socket.js';

const SUBSYSTEM = 6 << 8;
const COMMAND = { create: 2, destroy: 3, flush: 4, swap: 6, list: 7, add: 9, delete: 10, type: 13 } as const;
const PROTOCOL_VERSION = 6;

const ATTRIBUTE = {
  protocol: 1,
  setName: 2,
  typeName: 3,
  setName2: 3,
  revision: 4,
  family: 5,
  flags: 6,
  data: 7,
  adt: 8,
  lineNumber: 9,
} as const;
const DATA = { ip: 1, cidr: 3, port: 4, proto: 7, maxElements: 19 } as const;
const IP_FORM = { v4: 1, v6: 2 } as const;
const NET_BYTE_ORDER = 0x4000;
/** IPSET_FLAG_LIST_SETNAME: list names only. */
const LIST_NAMES_FLAG = 2;
const FAMILY = { 4: 2, 6: 10 } as const;
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** The kernel has no such set. */
const ENOENT = 2;
/** A nested attribute's length is 16 bits; a member of hash:ip,port in v6 takes 60 bytes. */
const MEMBERS_PER_MESSAGE = 1000;

/** Set types that this codec can encode members of. */
export type IpsetType = 'hash:ip' | 'hash:net' | 'hash:ip,port';

/** Adds the attributes of one member, given in ipset's text form. */
export function encodeMember(writer: MessageWriter, type: IpsetType, member: string): void {
  const comma = type === 'hash:ip,port' ? member.indexOf(',') : -1;
  const address = comma < 0 ? member : member.slice(0, comma);
  // Most members by far are single addresses of IPv4.
  const plain = parseIpv4(address);
  const cidr: Cidr | null = plain === null ? parseCidr(address) : { family: 4, value: plain, length: 32 };
  if (cidr === null) throw new NetlinkError(`"${member}" is not a member of a ${type} set`, 22, 'EINVAL');
  const ip = writer.open(DATA.ip);
  if (cidr.family === 4) writer.attributeU32Be(IP_FORM.v4 | NET_BYTE_ORDER, cidr.value);
  else writer.attribute(IP_FORM.v6 | NET_BYTE_ORDER, addressBytes(6, cidr.value));
  writer.close(ip);
  if (type === 'hash:net') writer.attributeU8(DATA.cidr, cidr.length);
  if (comma >= 0) {
    const [proto = '', port = ''] = member.slice(comma + 1).split(':');
    const number = PROTOCOL_NUMBERS[proto.toLowerCase()];
    if (number === undefined) throw new NetlinkError(`"${member}": unknown protocol`, 22, 'EINVAL');
    writer.attributeU16Be(DATA.port | NET_BYTE_ORDER, Number(port));
    writer.attributeU8(DATA.proto, number);
  }
}

/** ipset over one netlink socket. Every call is synchronous; failures are NetlinkErrors that name the set. */
export class IpsetNetlink {
  readonly #socket: NetlinkSocket;
  readonly #revisions = new Map<string, number>();

  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.netfilter);
  }

  /** Names of all sets of the namespace, foreign ones too. */
  listNames(): string[] {
    const names: string[] = [];
    const writer = this.#begin(COMMAND.list, FLAG.dump, 4);
    writer.attributeU32Be(ATTRIBUTE.flags | NET_BYTE_ORDER, LIST_NAMES_FLAG).end();
    this.#socket.dump(writer.finish(), (message) => names.push(setName(message)));
    return names;
  }

  /** One set with its members, or null when there is none of that name. */
  list(name: string): IpsetListing | null {
    const reader = new IpsetReader();
    return this.#scan(name, reader) ? reader.finish(name) : null;
  }

  /** Digest of the bytes that {@link list} would read, without taking them apart; null when there is no set of that name. */
  digest(name: string): string | null {
    const digest = new IpsetDigest();
    return this.#scan(name, digest) ? digest.finish() : null;
  }

  /** Creates a set; fails with EEXIST when there is one of that name. */
  create(name: string, type: IpsetType, family: 4 | 6, maxElements: number): void {
    const writer = this.#begin(COMMAND.create, FLAG.ack | FLAG.create | FLAG.exclusive, family);
    writer
      .attributeString(ATTRIBUTE.setName, name)
      .attributeString(ATTRIBUTE.typeName, type)
      .attributeU8(ATTRIBUTE.revision, this.#revision(type, family))
      .attributeU8(ATTRIBUTE.family, FAMILY[family])
      .nested(ATTRIBUTE.data, (data) => data.attributeU32Be(DATA.maxElements | NET_BYTE_ORDER, maxElements))
      .end();
    this.#check(`ipset create ${name}`, writer);
  }

  /** Adds members; ones that are there already are fine. */
  add(name: string, type: IpsetType, family: 4 | 6, members: readonly string[]): void {
    this.#members(COMMAND.add, `ipset add ${name}`, name, type, family, members);
  }

  /** Deletes members; ones that are gone already are fine. */
  delete(name: string, type: IpsetType, family: 4 | 6, members: readonly string[]): void {
    this.#members(COMMAND.delete, `ipset del ${name}`, name, type, family, members);
  }

  /** Exchanges the contents of two sets of one type. */
  swap(name: string, other: string): void {
    const writer = this.#begin(COMMAND.swap, FLAG.ack, 4);
    writer.attributeString(ATTRIBUTE.setName, name).attributeString(ATTRIBUTE.setName2, other).end();
    this.#check(`ipset swap ${name} ${other}`, writer);
  }

  /** Destroys a set; fails while a rule uses it. */
  destroy(name: string): void {
    const writer = this.#begin(COMMAND.destroy, FLAG.ack, 4);
    writer.attributeString(ATTRIBUTE.setName, name).end();
    this.#check(`ipset destroy ${name}`, writer);
  }

  /** Takes all members out of a set. */
  flush(name: string): void {
    const writer = this.#begin(COMMAND.flush, FLAG.ack, 4);
    writer.attributeString(ATTRIBUTE.setName, name).end();
    this.#check(`ipset flush ${name}`, writer);
  }

  close(): void {
    this.#socket.close();
  }

  /** False when there is no set of that name. */
  #scan(name: string, reader: Pick<IpsetReader, 'take'>): boolean {
    const writer = this.#begin(COMMAND.list, FLAG.dump, 4);
    writer.attributeString(ATTRIBUTE.setName, name).end();
    try {
      this.#socket.scan(writer.finish(), (received, start, end) => reader.take(received, start, end));
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ENOENT) return false;
      throw error;
    }
    return true;
  }

  #members(
    command: number,
    what: string,
    name: string,
    type: IpsetType,
    family: 4 | 6,
    members: readonly string[],
  ): void {
    for (let start = 0; start < members.length; start += MEMBERS_PER_MESSAGE) {
      const part = members.slice(start, start + MEMBERS_PER_MESSAGE);
      // Without FLAG.exclusive the kernel takes a member that is there (or gone) already as done, as -exist does.
      const writer = this.#begin(command, FLAG.ack, family);
      writer.attributeString(ATTRIBUTE.setName, name).attributeU32Be(ATTRIBUTE.lineNumber | NET_BYTE_ORDER, 0);
      const list = writer.open(ATTRIBUTE.adt);
      for (const member of part) {
        const data = writer.open(ATTRIBUTE.data);
        encodeMember(writer, type, member);
        writer.close(data);
      }
      writer.close(list).end();
      this.#check(what, writer);
    }
  }

  /** The newest revision of a type that the kernel has. */
  #revision(type: IpsetType, family: 4 | 6): number {
    const key = `${type}/${family}`;
    const known = this.#revisions.get(key);
    if (known !== undefined) return known;
    const writer = this.#begin(COMMAND.type, FLAG.ack, family);
    writer.attributeString(ATTRIBUTE.typeName, type).attributeU8(ATTRIBUTE.family, FAMILY[family]).end();
    let revision = 0;
    const acks = this.#socket.exchange(writer.finish(), 1, (message) => {
      revision = parseAttributes(message.payload.subarray(NFGENMSG_LENGTH)).get(ATTRIBUTE.revision)?.readUInt8(0) ?? 0;
    });
    throwIpsetFailure(`ipset type ${type}`, acks);
    this.#revisions.set(key, revision);
    return revision;
  }

  #begin(command: number, flags: number, family: 4 | 6): MessageWriter {
    return new MessageWriter()
      .begin(SUBSYSTEM | command, FLAG.request | flags, this.#socket.takeSequences(1))
      .u8(FAMILY[family])
      .u8(0)
      .u16(0)
      .attributeU8(ATTRIBUTE.protocol, PROTOCOL_VERSION);
  }

  #check(what: string, writer: MessageWriter): void {
    throwIpsetFailure(what, this.#socket.exchange(writer.finish(), 1));
  }
}

function setName(message: ReceivedMessage): string {
  return attributeText(parseAttributes(message.payload.subarray(NFGENMSG_LENGTH)).get(ATTRIBUTE.setName));
}

/** ipset's own error numbers (enum ipset_errno). */
const IPSET_ERRORS: Readonly<Record<number, string>> = {
  4097: 'protocol error',
  4098: 'set type is not supported by the kernel',
  4099: 'no more sets can be created',
  4100: 'set is in use',
  4101: 'second set does not exist',
  4102: 'sets have different types',
  4103: 'member is already there or already gone',
  4104: 'invalid prefix length',
  4106: 'address family does not fit the set',
  4108: 'set is referenced',
  4352: 'set is full (maxelem reached)',
};

function throwIpsetFailure(what: string, acks: readonly Acknowledgement[]): void {
  throwFailure(
    what,
    acks.map((ack) => (ack.detail === '' ? { ...ack, detail: IPSET_ERRORS[ack.errno] ?? '' } : ack)),
  );
}
