// The synthetic node of the benchmark: veth pairs, sets, policies and endpoints in fixed proportions, as shell lines and
// as the frames that Felix would send for them.
import { create, toBinary } from '@bufbuild/protobuf';
import {
  type ActivePolicyUpdate,
  ActivePolicyUpdateSchema,
  IPSetUpdate_IPSetType,
  type Rule,
  RuleSchema,
  type ToDataplane,
  ToDataplaneSchema,
  type WorkloadEndpoint,
  WorkloadEndpointSchema,
} from '../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording, type Mode, splitFrames } from '../test/fixtures/recording.js';
import { modeParameters, withParameters } from '../test/kernel/support/driver-process.js';

/** Members of every set. */
const MEMBERS = 100;
const RULES_PER_POLICY = 10;
const POLICIES_PER_POD = 5;
/** UDP port of the probe; the policy edit allows it, the set member allows its sender. */
export const PROBE_PORT = 5555;
const PROBE_SET = 's:probe';
const PROBE_POLICY = 'probe';
const TIER = 'default';

/** Addresses of the probe pods. */
export const PROBES = {
  sender: { name: 'calisend', address: '10.66.0.2' },
  receiver: { name: 'calirecv', address: '10.66.0.3' },
} as const;

type Payload = Parameters<typeof create<typeof ToDataplaneSchema>>[1] extends infer I | undefined
  ? I extends { payload?: infer P }
    ? P
    : never
  : never;

function frame(payload: NonNullable<Payload>): Buffer {
  return Buffer.from(toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { payload }) satisfies ToDataplane));
}

function memberOf(set: number, member: number): string {
  return `10.${100 + (set >> 8)}.${set & 255}.${member + 1}/32`;
}

function ruleId(text: string): string {
  return Buffer.from(text.padEnd(12, '_').slice(0, 12)).toString('base64url');
}

/** How many policies and how many sets a node of so many pods has. */
export function policyCount(pods: number): number {
  return pods >= 500 ? (pods * 2) / 5 : pods / 2;
}

/** Builds the frames of a node with `pods` pods. */
export class SyntheticNode {
  readonly pods: number;
  readonly policies: number;

  /** As many policies as the baseline page has for so many pods, unless told otherwise; as many sets as policies. */
  constructor(pods: number, policies = policyCount(pods)) {
    this.pods = pods;
    this.policies = policies;
  }

  /** Shell lines for a fresh namespace: the pods' veth pairs, all up, and the probe pods' far ends in namespaces. */
  hostScript(namespaces: { readonly sender: string; readonly receiver: string }): string {
    const batch: string[] = [];
    for (let pod = 0; pod < this.pods; pod++) {
      batch.push(`link add ${podInterface(pod)} type veth peer name p${pod}`);
    }
    // One request sets all of them up: one by one, each waits for the kernel's grace period (45 s for 5,000 pods).
    batch.push('link set group default up');
    return [
      'sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1',
      // The kernel gives links their link-local addresses in the background, for a minute with 10,000 of them.
      'sysctl -qw net.ipv6.conf.default.addr_gen_mode=1',
      'ip link add eth0 address 02:00:00:00:00:01 type veth peer name ext0',
      'ip addr add 192.168.0.1/24 dev eth0',
      'ip link set eth0 up',
      'ip link set ext0 up',
      `ip -batch - <<'END'\n${batch.join('\n')}\nEND`,
      ...probeScript(PROBES.sender, namespaces.sender, '02:00:00:00:02:01', 'ee:ee:ee:ee:01:01'),
      ...probeScript(PROBES.receiver, namespaces.receiver, '02:00:00:00:02:02', 'ee:ee:ee:ee:01:02'),
    ].join('\n');
  }

  /** The whole snapshot, from ConfigUpdate to InSync. The probe's policy allows nothing. */
  snapshot(mode: Mode, parameters: Record<string, string> = {}): Buffer[] {
    const opening = splitFrames(loadRecording('policy-groups').stream).slice(0, 4);
    const frames = withParameters(opening, { ...modeParameters(mode), ...parameters });
    for (let set = 0; set < this.policies; set++) {
      frames.push(
        this.#setUpdate(
          `s:set-${set}`,
          Array.from({ length: MEMBERS }, (_, member) => memberOf(set, member)),
        ),
      );
    }
    frames.push(this.#setUpdate(PROBE_SET, ['10.99.0.1/32']));
    for (let policy = 0; policy < this.policies; policy++) frames.push(this.policy(policy, RULES_PER_POLICY));
    frames.push(this.probePolicy(false), this.#profile());
    for (let pod = 0; pod < this.pods; pod++) frames.push(this.podUpdate(pod, 0));
    frames.push(this.#probePod('sender', []), this.#probePod('receiver', [PROBE_POLICY]));
    frames.push(frame({ case: 'inSync', value: {} }));
    return frames;
  }

  /** A policy with so many rules: each allows TCP to one port from one set. */
  policy(policy: number, rules: number): Buffer {
    return policyFrame(
      `policy-${policy}`,
      Array.from({ length: rules }, (_, rule) =>
        create(RuleSchema, {
          action: 'allow',
          protocol: { numberOrName: { case: 'name', value: 'tcp' } },
          dstPorts: [{ first: 1000 + rule, last: 1000 + rule }],
          srcIpSetIds: [`s:set-${(policy + rule) % this.policies}`],
          ruleId: ruleId(`p${policy}r${rule}`),
        }),
      ),
    );
  }

  /** The receiver's policy: members of the probe's set may send; with `allowed` everyone may send to the port. */
  probePolicy(allowed: boolean): Buffer {
    const udp = { numberOrName: { case: 'name', value: 'udp' } } as const;
    const bySet = create(RuleSchema, {
      action: 'allow',
      protocol: udp,
      srcIpSetIds: [PROBE_SET],
      ruleId: ruleId('probe-set'),
    });
    const byPort = create(RuleSchema, {
      action: 'allow',
      protocol: udp,
      dstPorts: [{ first: PROBE_PORT, last: PROBE_PORT }],
      ruleId: ruleId('probe-port'),
    });
    return policyFrame(PROBE_POLICY, allowed ? [bySet, byPort] : [bySet]);
  }

  /** The sender becomes a member of the probe's set, or leaves it. */
  probeMember(isMember: boolean): Buffer {
    const members = [`${PROBES.sender.address}/32`];
    return frame({
      case: 'ipsetDeltaUpdate',
      value: isMember ? { id: PROBE_SET, addedMembers: members } : { id: PROBE_SET, removedMembers: members },
    });
  }

  /** A pod's endpoint; each generation has another address. */
  podUpdate(pod: number, generation: number): Buffer {
    const policies = Array.from(
      { length: POLICIES_PER_POD },
      (_, index) => `policy-${(pod * POLICIES_PER_POD + index) % this.policies}`,
    );
    return workloadFrame(
      podName(pod),
      endpoint(podInterface(pod), `10.${65 + 2 * generation}.${pod >> 8}.${pod & 255}`, policies),
    );
  }

  podRemove(pod: number): Buffer {
    return frame({ case: 'workloadEndpointRemove', value: { id: workloadId(podName(pod)) } });
  }

  #setUpdate(id: string, members: string[]): Buffer {
    return frame({ case: 'ipsetUpdate', value: { id, members, type: IPSetUpdate_IPSetType.NET } });
  }

  #profile(): Buffer {
    const rules = (name: string): Rule[] => [create(RuleSchema, { action: 'allow', ruleId: ruleId(name) })];
    return frame({
      case: 'activeProfileUpdate',
      value: {
        id: { name: 'open' },
        profile: { inboundRules: rules('open-in'), outboundRules: rules('open-out') },
      },
    });
  }

  #probePod(which: keyof typeof PROBES, policies: readonly string[]): Buffer {
    const { name, address } = PROBES[which];
    return workloadFrame(`default/${which}`, endpoint(name, address, policies));
  }
}

/** The workload id of a pod, as in its status messages. */
export function podName(pod: number): string {
  return `default/pod-${pod}`;
}

function podInterface(pod: number): string {
  return `cali${pod}`;
}

function workloadId(name: string): { orchestratorId: string; workloadId: string; endpointId: string } {
  return { orchestratorId: 'k8s', workloadId: name, endpointId: 'eth0' };
}

function workloadFrame(name: string, value: WorkloadEndpoint): Buffer {
  return frame({ case: 'workloadEndpointUpdate', value: { id: workloadId(name), endpoint: value } });
}

function endpoint(name: string, address: string, policies: readonly string[]): WorkloadEndpoint {
  const tier = {
    name: TIER,
    ingressPolicies: policies.map((policy) => ({ name: policy, kind: 'GlobalNetworkPolicy' })),
    defaultAction: 'Deny',
  };
  return create(WorkloadEndpointSchema, {
    state: 'active',
    name,
    mac: name === PROBES.receiver.name ? 'ee:ee:ee:ee:01:02' : 'ee:ee:ee:ee:01:01',
    profileIds: ['open'],
    ipv4Nets: [`${address}/32`],
    tiers: policies.length === 0 ? [] : [tier],
  });
}

function policyFrame(name: string, inboundRules: Rule[]): Buffer {
  const value: ActivePolicyUpdate = create(ActivePolicyUpdateSchema, {
    id: { name, kind: 'GlobalNetworkPolicy' },
    policy: { inboundRules, originalSelector: `policy == "${name}"`, tier: TIER },
  });
  return frame({ case: 'activePolicyUpdate', value });
}

function probeScript(
  probe: { readonly name: string; readonly address: string },
  namespace: string,
  hostMac: string,
  podMac: string,
): string[] {
  const inside = `ip -n ${namespace}`;
  return [
    `ip link add ${probe.name} address ${hostMac} type veth peer name eth0 netns ${namespace}`,
    `ip link set ${probe.name} up`,
    `${inside} link set eth0 address ${podMac} up`,
    `${inside} addr add ${probe.address}/32 dev eth0`,
    `${inside} route add 169.254.1.1 dev eth0 scope link`,
    `${inside} route add default via 169.254.1.1 dev eth0`,
    `${inside} neigh add 169.254.1.1 lladdr ${hostMac} dev eth0`,
  ];
}
