// Checks what a rule message holds before it becomes text. The calc graph validates too; but one bad value would
// fail the write of a whole table, so here it closes its own chain instead.
import { RefusedError } from '../base/errors.js';
import type { Family } from '../model/family.js';
import type { Protocol, Rule as ProtoRule } from '../protocol/gen/felix/felixbackend_pb.js';

const NET = /^[0-9A-Fa-f.:]+(?:\/[0-9]{1,3})?$/;
const SET_ID = /^[A-Za-z0-9_:.=+-]+$/;
const PROTOCOL_NAME = /^[A-Za-z0-9-]+$/;

/** Prefix lengths that match every address. */
const CATCH_ALL: Readonly<Record<Family, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

/** A protocol as matches take it. */
export type ProtocolValue = string | number;

/** The ids of all IP sets that a rule names, those that come twice twice. */
export function setsOfRule(rule: ProtoRule): string[] {
  return rule.srcIpSetIds.concat(
    rule.dstIpSetIds,
    rule.notSrcIpSetIds,
    rule.notDstIpSetIds,
    rule.dstIpPortSetIds,
    rule.srcNamedPortIpSetIds,
    rule.dstNamedPortIpSetIds,
    rule.notSrcNamedPortIpSetIds,
    rule.notDstNamedPortIpSetIds,
  );
}

/** Throws RefusedError for values that no back end can program. */
export function checkRule(rule: ProtoRule, object: string): void {
  for (const net of rule.srcNet.concat(rule.dstNet, rule.notSrcNet, rule.notDstNet)) {
    if (!NET.test(net)) refuse(object, `"${net}" is no CIDR`);
  }
  for (const { first, last } of rule.srcPorts.concat(rule.dstPorts, rule.notSrcPorts, rule.notDstPorts)) {
    if (first < 0 || last > 65535 || first > last) refuse(object, `${first}-${last} is no port range`);
  }
  for (const id of setsOfRule(rule)) if (!SET_ID.test(id)) refuse(object, `"${id}" is no IP set id`);
  checkIcmp(rule, object);
}

function checkIcmp(rule: ProtoRule, object: string): void {
  const values: number[] = [];
  if (rule.icmp.case === 'icmpType') values.push(rule.icmp.value);
  if (rule.icmp.case === 'icmpTypeCode') values.push(rule.icmp.value.type, rule.icmp.value.code);
  if (rule.notIcmp.case === 'notIcmpType') values.push(rule.notIcmp.value);
  if (rule.notIcmp.case === 'notIcmpTypeCode') values.push(rule.notIcmp.value.type, rule.notIcmp.value.code);
  for (const value of values) if (value < 0 || value > 255) refuse(object, `${value} is no ICMP type or code`);
}

/** The value of a protocol message, null when there is none. Number 0 is refused: iptables takes it as "any". */
export function protocolValue(protocol: Protocol | undefined, object: string): ProtocolValue | null {
  if (protocol === undefined) return null;
  const { numberOrName } = protocol;
  if (numberOrName.case === 'number') {
    const number = numberOrName.value;
    return number >= 1 && number <= 255 ? number : refuse(object, `${number} is no protocol number`);
  }
  if (numberOrName.case === 'name') {
    const name = numberOrName.value;
    return PROTOCOL_NAME.test(name) ? name : refuse(object, `"${name}" is no protocol name`);
  }
  return refuse(object, 'a protocol has neither number nor name');
}

/** Throws unless ports can be matched for the protocol (nft knows ports of TCP, UDP and SCTP only). */
export function checkPortProtocol(protocol: ProtocolValue | null, object: string): ProtocolValue {
  switch (protocol) {
    case 'tcp':
    case 'udp':
    case 'sctp':
    case 6:
    case 17:
    case 132:
      return protocol;
    default:
      return refuse(object, `ports need protocol TCP, UDP or SCTP, not ${protocol ?? 'any'}`);
  }
}

/**
 * The nets of one family. Null when the list had entries but none is left, or when a negated list holds everything:
 * then the rule can't match and is left out (dataplane.md 1.5).
 */
export function netsOfFamily(nets: readonly string[], family: Family, negated: boolean): readonly string[] | null {
  if (nets.length === 0) return nets;
  const kept = nets.filter((net) => net.includes(':') === (family === 6));
  if (kept.length === 0 || (negated && kept.includes(CATCH_ALL[family]))) return null;
  return kept;
}

/** Throws RefusedError about one object. */
export function refuse(object: string, reason: string): never {
  throw new RefusedError(`${object}: ${reason}`, object);
}
