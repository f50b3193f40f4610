// IP sets: what defines one, its id and type, and its members with reference counts (calc-graph.md sections 4 and 9).
import { IPSetUpdate_IPSetType } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { Cidr } from '../net/cidr.js';
import { CidrTrie } from '../net/cidr-trie.js';
import { type Selector, uniqueId } from '../selector/selector.js';

const ISTIO_SET_ID = 'all-istio-weps';

/** Protocol of a named port set; `any` takes every named port of that name. */
export type NamedPortProtocol = 'tcp' | 'udp' | 'sctp' | 'any';

/** What a set holds. Sets with the same id hold the same. */
export type IpSetDefinition =
  | { readonly kind: 'selector'; readonly id: string; readonly selector: Selector }
  | {
      readonly kind: 'named-port';
      readonly id: string;
      readonly selector: Selector;
      readonly protocol: NamedPortProtocol;
      readonly port: string;
    }
  | { readonly kind: 'service'; readonly id: string; readonly service: string; readonly withPorts: boolean };

/** The set of everything that the selector matches. */
export function selectorSet(selector: Selector): IpSetDefinition {
  return { kind: 'selector', id: selector.id, selector };
}

/** The set of all pods of the Istio ambient mesh, which is in use from the start. */
export function istioSet(selector: Selector): IpSetDefinition {
  return { kind: 'selector', id: ISTIO_SET_ID, selector };
}

/** The set of the ports of that name on everything that the selector matches. */
export function namedPortSet(selector: Selector, protocol: NamedPortProtocol, port: string): IpSetDefinition {
  return { kind: 'named-port', id: uniqueId('n', `${selector.id},${protocol},${port}`), selector, protocol, port };
}

/** The set of the endpoints of a service, `NAMESPACE/NAME`, with or without their ports. */
export function serviceSet(service: string, withPorts: boolean): IpSetDefinition {
  return { kind: 'service', id: uniqueId(withPorts ? 'svc' : 'svcnoport', service), service, withPorts };
}

/** Type of the set on the wire. */
export function setType(definition: IpSetDefinition): IPSetUpdate_IPSetType {
  if (definition.id === ISTIO_SET_ID) return IPSetUpdate_IPSetType.IP;
  const ported = definition.kind === 'named-port' || (definition.kind === 'service' && definition.withPorts);
  return ported ? IPSetUpdate_IPSetType.IP_AND_PORT : IPSetUpdate_IPSetType.NET;
}

/** A member: its text on the wire, and the prefix if overlaps may be suppressed. */
export interface Member {
  readonly text: string;
  readonly cidr?: Cidr;
}

/** Receives membership changes. */
export interface MemberListener {
  onMemberAdded(setId: string, member: string): void;
  onMemberRemoved(setId: string, member: string): void;
}

/**
 * The members of one set. A member is there while anything contributes it. With suppression, a prefix that lies within
 * another of the set is not announced, because nftables' interval sets refuse overlaps.
 */
export class SetMembers {
  readonly #setId: string;
  readonly #listener: MemberListener;
  readonly #counts = new Map<string, number>();
  readonly #prefixes: CidrTrie<true> | undefined;

  constructor(setId: string, suppressOverlaps: boolean, listener: MemberListener) {
    this.#setId = setId;
    this.#listener = listener;
    this.#prefixes = suppressOverlaps ? new CidrTrie() : undefined;
  }

  add(member: Member): void {
    const count = this.#counts.get(member.text) ?? 0;
    this.#counts.set(member.text, count + 1);
    if (count > 0) return;
    if (this.#prefixes === undefined || member.cidr === undefined) {
      this.#listener.onMemberAdded(this.#setId, member.text);
      return;
    }
    const hidden = this.#prefixes.containing(member.cidr).length > 0;
    const covered = hidden ? [] : this.#outermostWithin(member.cidr);
    this.#prefixes.set(member.cidr, true);
    if (hidden) return;
    this.#listener.onMemberAdded(this.#setId, member.text);
    for (const inner of covered) this.#listener.onMemberRemoved(this.#setId, inner.text);
  }

  remove(member: Member): void {
    const count = this.#counts.get(member.text) ?? 0;
    if (count > 1) {
      this.#counts.set(member.text, count - 1);
      return;
    }
    this.#counts.delete(member.text);
    if (this.#prefixes === undefined || member.cidr === undefined) {
      this.#listener.onMemberRemoved(this.#setId, member.text);
      return;
    }
    this.#prefixes.delete(member.cidr);
    if (this.#prefixes.containing(member.cidr).length > 0) return;
    this.#listener.onMemberRemoved(this.#setId, member.text);
    for (const inner of this.#outermostWithin(member.cidr)) this.#listener.onMemberAdded(this.#setId, inner.text);
  }

  #outermostWithin(outer: Cidr): Cidr[] {
    const found: Cidr[] = [];
    for (const { cidr } of this.#prefixes?.outermost(outer) ?? []) found.push(cidr);
    return found;
  }
}
