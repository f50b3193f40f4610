// Turns the criteria of one rule message into matches and match blocks (dataplane.md 1.5, 3.5 steps 1 to 8).
import type { Rule } from '../model/chain.js';
import { ipSetName } from '../model/ip-set.js';
import type { Match, PortRange } from '../model/match.js';
import type { Rule as ProtoRule } from '../protocol/gen/felix/felixbackend_pb.js';
import { markSet, type RenderContext } from './context.js';
import { MatchBlocks } from './match-blocks.js';
import { splitPorts } from './ports.js';
import { checkPortProtocol, checkRule, netsOfFamily, protocolValue, type ProtocolValue } from './rule-checks.js';

/** What a rule message matches: rules that come before, and the matches of the main rule. */
export interface RuleMatch {
  readonly blocks: readonly Rule[];
  readonly match: readonly Match[];
}

/** One end of a packet, with what its matches are called. */
interface End {
  readonly net: 'source-net' | 'dest-net';
  readonly set: 'source-set' | 'dest-set';
  readonly portSet: 'source-port-set' | 'dest-port-set';
  readonly ports: 'source-ports' | 'dest-ports';
}

const SOURCE: End = { net: 'source-net', set: 'source-set', portSet: 'source-port-set', ports: 'source-ports' };
const DEST: End = { net: 'dest-net', set: 'dest-set', portSet: 'dest-port-set', ports: 'dest-ports' };

/** Null when the rule can't match in this family. Throws RefusedError for values that can't be programmed. */
export function matchProtoRule(ctx: RenderContext, proto: ProtoRule, object: string): RuleMatch | null {
  if (proto.ipVersion !== 0 && Number(proto.ipVersion) !== ctx.family) return null;
  checkRule(proto, object);
  const srcNets = netsOfFamily(proto.srcNet, ctx.family, false);
  const notSrcNets = netsOfFamily(proto.notSrcNet, ctx.family, true);
  const dstNets = netsOfFamily(proto.dstNet, ctx.family, false);
  const notDstNets = netsOfFamily(proto.notDstNet, ctx.family, true);
  if (srcNets === null || notSrcNets === null || dstNets === null || notDstNets === null) return null;
  const matcher = new RuleMatcher(ctx, protocolValue(proto.protocol, object), object);
  const srcPorts = matcher.portsLeft(SOURCE, proto.srcPorts, proto.srcNamedPortIpSetIds);
  const dstPorts = matcher.portsLeft(DEST, proto.dstPorts, proto.dstNamedPortIpSetIds);
  const srcNet = matcher.netsLeft(SOURCE, srcNets);
  const dstNet = matcher.netsLeft(DEST, dstNets);
  const notSrcNet = matcher.negatedNetsLeft(SOURCE, srcNet, notSrcNets);
  const notDstNet = matcher.negatedNetsLeft(DEST, dstNet, notDstNets);

  matcher.addProtocol();
  matcher.addNets(SOURCE, srcNet, false);
  matcher.addSets(SOURCE.set, proto.srcIpSetIds, false);
  matcher.addAll(srcPorts);
  matcher.addNets(DEST, dstNet, false);
  matcher.addSets(DEST.set, proto.dstIpSetIds, false);
  matcher.addSets(DEST.portSet, proto.dstIpPortSetIds, false);
  matcher.addAll(dstPorts);
  if (proto.icmp.case === 'icmpType') matcher.addIcmpType(proto.icmp.value, false);
  if (proto.icmp.case === 'icmpTypeCode') matcher.addIcmpTypeAndCode(proto.icmp.value, false);

  const notProtocol = protocolValue(proto.notProtocol, object);
  if (notProtocol !== null) matcher.addAll([{ kind: 'protocol', protocol: notProtocol, negated: true }]);
  matcher.addNets(SOURCE, notSrcNet, true);
  matcher.addSets(SOURCE.set, proto.notSrcIpSetIds, true);
  matcher.addNegatedPorts(SOURCE, proto.notSrcPorts);
  matcher.addSets(SOURCE.portSet, proto.notSrcNamedPortIpSetIds, true);
  matcher.addNets(DEST, notDstNet, true);
  matcher.addSets(DEST.set, proto.notDstIpSetIds, true);
  matcher.addNegatedPorts(DEST, proto.notDstPorts);
  matcher.addSets(DEST.portSet, proto.notDstNamedPortIpSetIds, true);
  if (proto.notIcmp.case === 'notIcmpType') matcher.addIcmpType(proto.notIcmp.value, true);
  if (proto.notIcmp.case === 'notIcmpTypeCode') matcher.addIcmpTypeAndCode(proto.notIcmp.value, true);
  return matcher.finish();
}

/** The matches of the rule in the making; `…Left` methods move what needs a block there and return the rest. */
class RuleMatcher {
  readonly #ctx: RenderContext;
  readonly #protocol: ProtocolValue | null;
  readonly #object: string;
  readonly #blocks: MatchBlocks;
  readonly #match: Match[] = [];

  constructor(ctx: RenderContext, protocol: ProtocolValue | null, object: string) {
    this.#ctx = ctx;
    this.#protocol = protocol;
    this.#object = object;
    this.#blocks = new MatchBlocks(ctx.marks);
  }

  portsLeft(end: End, ports: readonly PortRange[], namedPortSets: readonly string[]): readonly Match[] {
    const pieces = splitPorts(ports).map((piece) => this.#ports(end, piece, false));
    const sets = namedPortSets.map((id) => this.#set(end.portSet, id, false));
    if (pieces.length + sets.length <= 1) return [...pieces, ...sets];
    // Set members hold the protocol, so only the numeric alternatives repeat it.
    const protocol = this.#protocolMatch();
    this.#blocks.addPositive([...pieces.map((piece) => [...protocol, piece]), ...sets.map((set) => [set])]);
    return [];
  }

  netsLeft(end: End, nets: readonly string[]): readonly string[] {
    if (nets.length <= 1) return nets;
    this.#blocks.addPositive(nets.map((net) => [{ kind: end.net, net }]));
    return [];
  }

  negatedNetsLeft(end: End, positive: readonly string[], nets: readonly string[]): readonly string[] {
    if (positive.length + nets.length <= 1) return nets;
    this.#blocks.addNegative(nets.map((net) => ({ kind: end.net, net })));
    return [];
  }

  addProtocol(): void {
    this.#match.push(...this.#protocolMatch());
  }

  addNets(end: End, nets: readonly string[], negated: boolean): void {
    for (const net of nets) this.#match.push({ kind: end.net, net, negated });
  }

  addSets(kind: End['set'] | End['portSet'], ids: readonly string[], negated: boolean): void {
    for (const id of ids) this.#match.push(this.#set(kind, id, negated));
  }

  addNegatedPorts(end: End, ports: readonly PortRange[]): void {
    for (const piece of splitPorts(ports)) this.#match.push(this.#ports(end, piece, true));
  }

  addIcmpType(type: number, negated: boolean): void {
    this.#match.push({ kind: 'icmp-type', type, negated });
  }

  addIcmpTypeAndCode({ type, code }: { readonly type: number; readonly code: number }, negated: boolean): void {
    this.#match.push({ kind: 'icmp-type-code', type, code, negated });
  }

  addAll(matches: readonly Match[]): void {
    this.#match.push(...matches);
  }

  finish(): RuleMatch {
    if (this.#blocks.used) this.#match.push(markSet(this.#ctx.marks.scratch0));
    return { blocks: this.#blocks.rules, match: this.#match };
  }

  #protocolMatch(): Match[] {
    return this.#protocol === null ? [] : [{ kind: 'protocol', protocol: this.#protocol }];
  }

  #ports(end: End, ports: readonly PortRange[], negated: boolean): Match {
    return { kind: end.ports, protocol: checkPortProtocol(this.#protocol, this.#object), ports, negated };
  }

  #set(kind: End['set'] | End['portSet'], id: string, negated: boolean): Match {
    return { kind, set: ipSetName(this.#ctx.family, id), negated };
  }
}
