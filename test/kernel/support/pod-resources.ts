// Kubernetes resources for the pods of a PacketNode, as YAML, and the frames that a control plane makes of them.
import { create } from '@bufbuild/protobuf';
import {
  ActiveProfileUpdateSchema,
  IPSetDeltaUpdateSchema,
  IPSetUpdateSchema,
  ProfileSchema,
  RuleSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../../src/protocol/session.js';
import { encodeToDataplane } from '../../../src/protocol/messages.js';
import { silentLogger } from '../../../src/base/logger.js';
import { MockControlPlane } from '../../../src/mock/control-plane.js';
import { parseDocuments } from '../../../src/mock/documents.js';
import { refText } from '../../../src/mock/outcome.js';
import type { Mode } from '../../fixtures/recording.js';
import { modeParameters } from './driver-process.js';
import type { PodPlug } from './packets-node.js';

/** Where a pod belongs and what it is called by. */
export interface PodIdentity {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** A Namespace with labels. */
export function namespaceYaml(name: string, labels: Readonly<Record<string, string>> = {}): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
}

/** A Pod at the place where `plug` is plugged in; without identity it is in `default` with the label `app: NAME`. */
export function podYaml(plug: PodPlug, identity?: PodIdentity): string {
  const { namespace, labels } = identity ?? { namespace: 'default', labels: { app: plug.name } };
  const annotations = { 'felix-dataplane/interface-name': plug.interfaceName, 'felix-dataplane/mac': plug.mac };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: plug.name, namespace, labels, annotations },
    spec: { containers: [] },
    status: { podIPs: [{ ip: plug.v4 }, { ip: plug.v6 }] },
  });
}

/** Several resources in one file. */
export function yamlFile(...documents: readonly string[]): string {
  return `${documents.join('\n---\n')}\n`;
}

function inPieces(payload: ToDataplanePayload): ToDataplanePayload[] {
  if (payload.case === 'activeProfileUpdate') {
    const deny = [create(RuleSchema, { action: 'deny', ruleId: 'notyetknown00000' })];
    const profile = create(ProfileSchema, { inboundRules: deny, outboundRules: deny });
    const { id } = payload.value;
    const value = create(ActiveProfileUpdateSchema, { ...(id === undefined ? {} : { id }), profile });
    return [{ case: 'activeProfileUpdate', value }, payload];
  }
  if (payload.case !== 'ipsetUpdate') return [payload];
  const { id, type, members } = payload.value;
  const [first = [], rest = []] = [members.slice(0, 1), members.slice(1)];
  return [
    { case: 'ipsetUpdate', value: create(IPSetUpdateSchema, { id, type, members: first }) },
    { case: 'ipsetDeltaUpdate', value: create(IPSetDeltaUpdateSchema, { id, addedMembers: rest }) },
  ];
}

/** A control plane that sends bytes: what a Felix under test writes. */
export class ResourceFeed {
  readonly #mock: MockControlPlane;
  #sequence = 0n;

  /** `parameters` are Felix's, beside those of the mode. */
  constructor(mode: Mode, parameters: Readonly<Record<string, string>> = {}) {
    const config = { ...modeParameters(mode), ...parameters };
    this.#mock = new MockControlPlane({ hostname: 'node1', config, log: silentLogger });
  }

  /** Takes YAML; throws when any of it is not valid. */
  apply(text: string): void {
    const { documents, problems } = parseDocuments(text, 'test');
    const outcome = this.#mock.apply(documents);
    const faults = [...problems, ...outcome.problems];
    if (faults.length > 0) throw new Error(JSON.stringify(faults));
  }

  /** Removes a resource by its text, e.g. `Kubernetes NetworkPolicy default/p`. */
  remove(text: string): void {
    const ref = this.#mock.list().find((candidate) => refText(candidate) === text);
    if (ref === undefined || !this.#mock.delete(ref)) throw new Error(`No resource "${text}"`);
  }

  /** Messages that are due. */
  frames(): Uint8Array[] {
    return this.#mock.flush().map((payload) => encodeToDataplane(payload, this.#sequence++));
  }

  /** Everything from the start, as a Felix that was restarted sends it. */
  restarted(): Uint8Array[] {
    this.#mock.restart();
    this.#sequence = 0n;
    return this.frames();
  }

  /**
   * The same from a Felix that flushes before it has read all of its datastore, as a real one does: profiles deny until
   * their rules come, sets get members later.
   */
  restartedInPieces(): Uint8Array[] {
    this.#mock.restart();
    const payloads = this.#mock.flush().flatMap(inPieces);
    this.#sequence = 0n;
    return payloads.map((payload) => encodeToDataplane(payload, this.#sequence++));
  }
}
