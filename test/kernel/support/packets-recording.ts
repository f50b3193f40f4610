// Plays a recording on one node for each mode and sends the same packets on all of them: who may talk to whom must not
// depend on the mode.
import { fromBinary } from '@bufbuild/protobuf';
import { type ToDataplane, ToDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording, MODES, type Mode, splitFrames } from '../../fixtures/recording.js';
import { createModeNodes, type ModeNodes } from './packets-modes.js';
import type { PacketNode, PodPlug } from './packets-node.js';
import { listenOn } from './packets-table.js';
import { recordingFrames } from './replay.js';

/** One probe of the matrix. */
interface Shot {
  readonly from: string;
  readonly to: string;
  readonly family: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
}

/** What a recording was tried with. */
export interface RecordingReport {
  readonly passed: number;
  readonly closed: number;
}

const DEFAULT_PORT = 8055;
const MAX_PORTS = 6;
/** Steps of a recording that are judged, from its end. */
const LAST_STEPS = 3;
/** Probes of a node at a time: with more, their own agents are too slow for the timeout. */
const VOLLEY = 80;
const TIMEOUT_MS = 300;
/** For what the modes do not agree on: a slow machine must not look like a verdict. */
const SECOND_TIMEOUT_MS = 1_500;
const PATIENCE_MS = 10_000;

function messagesOf(name: string): ToDataplane[] {
  return splitFrames(loadRecording(name).stream).map((frame) => fromBinary(ToDataplaneSchema, frame));
}

/** Pods of the recording that have an interface in its host script, as they are first announced. */
function plugsOf(name: string, most: number): { readonly plugs: PodPlug[]; readonly hasV6: boolean } {
  const { hostScript } = loadRecording(name);
  const plugs = new Map<string, PodPlug>();
  let hasV6 = false;
  for (const { payload } of messagesOf(name)) {
    if (payload.case !== 'workloadEndpointUpdate') continue;
    const endpoint = payload.value.endpoint;
    if (endpoint === undefined || plugs.has(endpoint.name) || plugs.size >= most) continue;
    if (!hostScript.includes(`name p${endpoint.name} `)) continue;
    const [v4] = (endpoint.ipv4Nets[0] ?? '').split('/');
    const [v6] = (endpoint.ipv6Nets[0] ?? '').split('/');
    if (!v4) continue;
    hasV6 ||= Boolean(v6);
    plugs.set(endpoint.name, {
      name: endpoint.name,
      interfaceName: endpoint.name,
      peer: `p${endpoint.name}`,
      v4,
      v6: v6 || `fd00:65:ffff::${plugs.size + 1}`,
      mac: endpoint.mac,
    });
  }
  return { plugs: [...plugs.values()], hasV6 };
}

/** Ports that the recording's rules speak of, first of each range, and one that none does. */
function portsOf(name: string): number[] {
  const ports = new Set<number>([DEFAULT_PORT]);
  for (const { payload } of messagesOf(name)) {
    if (payload.case === 'ipsetUpdate')
      for (const member of payload.value.members) ports.add(Number(member.split(':').at(-1) ?? Number.NaN));
    const body =
      payload.case === 'activePolicyUpdate'
        ? payload.value.policy
        : payload.case === 'activeProfileUpdate'
          ? payload.value.profile
          : undefined;
    for (const rule of [...(body?.inboundRules ?? []), ...(body?.outboundRules ?? [])])
      for (const range of [...rule.dstPorts, ...rule.notDstPorts]) ports.add(range.first);
  }
  return [...ports].filter((port) => Number.isInteger(port) && port > 0 && port < 65_536).slice(0, MAX_PORTS);
}

function matrix(plugs: readonly PodPlug[], ports: readonly number[], families: readonly (4 | 6)[]): Shot[] {
  const sites = ['n', 'x', ...plugs.map((plug) => plug.name)];
  return sites.flatMap((from) =>
    sites
      .filter((to) => to !== from)
      .flatMap((to) =>
        families.flatMap((family) =>
          ports.flatMap((port) => (['tcp', 'udp'] as const).map((protocol) => ({ from, to, family, protocol, port }))),
        ),
      ),
  );
}

function label({ from, to, family, protocol, port }: Shot): string {
  return `${from} -> ${to}:${port}/${protocol} IPv${family}`;
}

async function fire(node: PacketNode, shots: readonly Shot[], timeoutMs: number): Promise<Map<string, string>> {
  const results = new Map<string, string>();
  await node.namespace.run(['conntrack', '-F'], { reject: false });
  for (let start = 0; start < shots.length; start += VOLLEY) {
    await Promise.all(
      shots.slice(start, start + VOLLEY).map(async (shot) => {
        const target = node.site(shot.to);
        const outcome = await node.site(shot.from).probe.connect({
          protocol: shot.protocol,
          port: shot.port,
          address: shot.family === 4 ? target.v4 : target.v6,
          timeoutMs,
        });
        results.set(label(shot), `${outcome.result}${outcome.seenAs === undefined ? '' : ` as ${outcome.seenAs}`}`);
      }),
    );
  }
  return results;
}

type Results = ReadonlyMap<Mode, ReadonlyMap<string, string>>;

function verdictsOn(results: Results, shot: Shot): string[] {
  return MODES.map((mode) => results.get(mode)?.get(label(shot)) ?? 'not tried');
}

async function fireEverywhere(nodes: ModeNodes, shots: readonly Shot[], timeoutMs: number): Promise<Results> {
  const results = new Map<Mode, Map<string, string>>();
  await nodes.each(async (node, mode) => {
    results.set(mode, await fire(node, shots, timeoutMs));
  });
  return results;
}

/** Fires, and fires again what the modes do not agree on, until they do; the verdicts of the first mode. */
async function agreedVerdicts(nodes: ModeNodes, shots: readonly Shot[], moment: string): Promise<string[]> {
  const deadline = Date.now() + PATIENCE_MS;
  const agreed: string[] = [];
  let open = shots;
  for (let timeoutMs = TIMEOUT_MS; open.length > 0; timeoutMs = SECOND_TIMEOUT_MS) {
    const results = await fireEverywhere(nodes, open, timeoutMs);
    const isAgreed = (shot: Shot): boolean => new Set(verdictsOn(results, shot)).size === 1;
    agreed.push(...open.filter(isAgreed).map((shot) => verdictsOn(results, shot)[0] ?? ''));
    open = open.filter((shot) => !isAgreed(shot));
    if (open.length === 0 || Date.now() < deadline) continue;
    const rows = open.map((shot) => `${label(shot)}: ${verdictsOn(results, shot).join(', ')}`);
    throw new Error(`${moment}: ${MODES.join(', ')} do not agree\n${rows.join('\n')}`);
  }
  return agreed;
}

/** Plays every step and judges the last ones; throws with the packets on which the modes do not agree. */
export async function compareModes(name: string, mostPods: number): Promise<RecordingReport> {
  const recording = loadRecording(name);
  const { plugs, hasV6 } = plugsOf(name, mostPods);
  const ports = portsOf(name);
  const shots = matrix(plugs, ports, hasV6 ? [4, 6] : [4]);
  const nodes = await createModeNodes({ pods: plugs, script: recording.hostScript });
  const report = { passed: 0, closed: 0 };
  try {
    await nodes.each(async (node) => {
      for (const site of node.sites.keys())
        for (const port of ports)
          for (const protocol of ['tcp', 'udp'] as const) await listenOn(node, site, port, protocol);
    });
    let sent = 0;
    for (const [index, step] of recording.steps.steps.entries()) {
      const from = sent;
      sent = step.frames;
      await nodes.each(async (node, mode) => {
        const frames = recordingFrames(recording, mode).slice(from, step.frames);
        if (from === 0) return node.startWithFrames(frames);
        const before = node.applies;
        node.driver.send(frames);
        return node.applied(before);
      });
      // Before the first endpoints there is nothing to tell apart, and long recordings are judged by their end.
      if (from === 0 || index < recording.steps.steps.length - LAST_STEPS) continue;
      for (const verdict of await agreedVerdicts(nodes, shots, `${name}, step ${step.name}`)) {
        if (verdict.startsWith('passes')) report.passed += 1;
        else report.closed += 1;
      }
    }
    return report;
  } finally {
    await nodes.remove();
  }
}
