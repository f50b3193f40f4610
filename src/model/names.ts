// Names of chains and policies as Felix makes them, for every room that has to find a chain again
// (dataplane.md 3.11).
import { sha256Base64Url, sha3224Base64Url } from '../base/digest.js';
import type { Backend } from './family.js';

/** Longest chain name per back end, in bytes. The kernel's iptables limit is 28, nft's is 256. */
export const MAX_CHAIN_NAME_LENGTH: Readonly<Record<Backend, number>> = { iptables: 28, nftables: 256 };

/** What identifies a policy; the message type PolicyID fits. */
export interface PolicyName {
  readonly name: string;
  /** Empty for policies without namespace. */
  readonly namespace: string;
  readonly kind: string;
}

/** Chains that exist once per table. */
export const CHAIN = {
  input: 'cali-INPUT',
  forward: 'cali-FORWARD',
  output: 'cali-OUTPUT',
  prerouting: 'cali-PREROUTING',
  postrouting: 'cali-POSTROUTING',
  workloadToHost: 'cali-wl-to-host',
  fromWorkloadDispatch: 'cali-from-wl-dispatch',
  toWorkloadDispatch: 'cali-to-wl-dispatch',
  fromHostEndpoint: 'cali-from-host-endpoint',
  toHostEndpoint: 'cali-to-host-endpoint',
  fromHostEndpointForward: 'cali-from-hep-forward',
  toHostEndpointForward: 'cali-to-hep-forward',
  failsafeIn: 'cali-failsafe-in',
  failsafeOut: 'cali-failsafe-out',
  cidrBlock: 'cali-cidr-block',
  forwardCheck: 'cali-forward-check',
  forwardEndpointMark: 'cali-forward-endpoint-mark',
  setEndpointMark: 'cali-set-endpoint-mark',
  fromEndpointMark: 'cali-from-endpoint-mark',
  wireguardIncomingMark: 'cali-wireguard-incoming-mark',
  rpfSkip: 'cali-rpf-skip',
  natOutgoing: 'cali-nat-outgoing',
  floatingIpDnat: 'cali-fip-dnat',
  floatingIpSnat: 'cali-fip-snat',
  egressDscp: 'cali-egress-dscp',
  arpDispatch: 'cali-arp-dispatch',
} as const;

/**
 * Prefixes of chains that exist per endpoint. `to` is toward the endpoint: for workloads into the pod, for host
 * endpoints out of the host.
 */
export const ENDPOINT_CHAIN_PREFIX = {
  toWorkload: 'cali-tw-',
  fromWorkload: 'cali-fw-',
  toHost: 'cali-th-',
  fromHost: 'cali-fh-',
  toHostForward: 'cali-thfw-',
  fromHostForward: 'cali-fhfw-',
  setMark: 'cali-sm-',
  arp: 'cali-arp-',
} as const;

const SHORT_KINDS: ReadonlyMap<string, string> = new Map([
  ['NetworkPolicy', 'np'],
  ['GlobalNetworkPolicy', 'gnp'],
  ['StagedNetworkPolicy', 'snp'],
  ['StagedGlobalNetworkPolicy', 'sgnp'],
  ['StagedKubernetesNetworkPolicy', 'sknp'],
  ['KubernetesNetworkPolicy', 'knp'],
  ['KubernetesClusterNetworkPolicy', 'kcnp'],
]);

/** `np`, `gnp`, …; an unknown kind stands for itself. */
export function shortPolicyKind(kind: string): string {
  return SHORT_KINDS.get(kind) ?? kind;
}

/** True for the kinds that are never enforced and have no chains. */
export function isStagedPolicy(policy: { readonly kind: string }): boolean {
  const kind = policy.kind;
  return (
    kind === 'StagedNetworkPolicy' || kind === 'StagedGlobalNetworkPolicy' || kind === 'StagedKubernetesNetworkPolicy'
  );
}

/** `<short kind>/<namespace>/<name>`, or `<short kind>/<name>` without namespace. */
export function policyIdText(policy: PolicyName): string {
  const kind = shortPolicyKind(policy.kind);
  return policy.namespace === '' ? `${kind}/${policy.name}` : `${kind}/${policy.namespace}/${policy.name}`;
}

/** What iptables-restore takes for more than a part of a name: it has no way to quote a chain. */
const ENDS_A_NAME = /[\s"'\\\p{Cc}]/u;

/**
 * Felix's length-limited id: prefix and suffix as they are if they fit into `maxLength` bytes, else the prefix, `_`
 * and as much of the suffix's SHA-256 as fits. A suffix that could be taken for such a hash is hashed too, and so is
 * one that would end the name in the middle; Calico lets no such name through.
 */
export function shortenedName(prefix: string, suffix: string, maxLength: number): string {
  const tail = suffix === '' ? '_' : suffix;
  const length = Buffer.byteLength(prefix) + Buffer.byteLength(tail);
  const fits = length < maxLength || (length === maxLength && !tail.startsWith('_'));
  if (fits && !ENDS_A_NAME.test(tail)) return prefix + tail;
  return `${prefix}_${sha256Base64Url(tail).slice(0, maxLength - 1 - Buffer.byteLength(prefix))}`;
}

/** `cali-pi-…` (ingress) or `cali-po-…` (egress). */
export function policyChainName(direction: 'ingress' | 'egress', policy: PolicyName, backend: Backend): string {
  const prefix = direction === 'ingress' ? 'cali-pi-' : 'cali-po-';
  return shortenedName(prefix, policyIdText(policy), MAX_CHAIN_NAME_LENGTH[backend]);
}

/** `cali-pri-…` (ingress) or `cali-pro-…` (egress). */
export function profileChainName(direction: 'ingress' | 'egress', profile: string, backend: Backend): string {
  const prefix = direction === 'ingress' ? 'cali-pri-' : 'cali-pro-';
  return shortenedName(prefix, profile, MAX_CHAIN_NAME_LENGTH[backend]);
}

/** A chain of an endpoint; the prefix is one of {@link ENDPOINT_CHAIN_PREFIX}. ARP chains live in nft in both modes. */
export function endpointChainName(prefix: string, interfaceName: string, backend: Backend): string {
  const limit = prefix === ENDPOINT_CHAIN_PREFIX.arp ? MAX_CHAIN_NAME_LENGTH.nftables : MAX_CHAIN_NAME_LENGTH[backend];
  return shortenedName(prefix, interfaceName, limit);
}

/** Characters of the digest in a group chain's name; the whole name is 28 long in both back ends. */
const GROUP_ID_LENGTH = 20;

/** `cali-gi-…` or `cali-go-…`; depends on selector, direction and all policies in order, staged ones too. */
export function policyGroupChainName(
  direction: 'ingress' | 'egress',
  selector: string,
  policies: readonly PolicyName[],
): string {
  let text = `${selector}\n${direction === 'ingress' ? 'inbound' : 'outbound'}\n${policies.length}\n`;
  for (const policy of policies) {
    text += `{Name: ${policy.name}, Namespace: ${policy.namespace}, Kind: ${policy.kind}}\n`;
  }
  const prefix = direction === 'ingress' ? 'cali-gi-' : 'cali-go-';
  return prefix + sha3224Base64Url(text).slice(0, GROUP_ID_LENGTH);
}
