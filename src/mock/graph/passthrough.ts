// What is sent on almost as it is in the resources: pools, BGP configuration, services, and the labels of namespaces and
// service accounts (calc-graph.md sections 12 and 14; Felix: felix/calc/dataplane_passthru.go, profile_decoder.go).
import { create } from '@bufbuild/protobuf';
import {
  GlobalBGPConfigUpdateSchema,
  IPAMPoolRemoveSchema,
  IPAMPoolUpdateSchema,
  NamespaceRemoveSchema,
  NamespaceUpdateSchema,
  ServiceAccountRemoveSchema,
  ServiceAccountUpdateSchema,
  ServiceRemoveSchema,
  ServiceUpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import type { BgpConfigModel, EncapMode, Labels, PoolModel, ServiceModel } from './entries.js';
import type { EventSequencer } from './event-sequencer.js';

const MODE_TEXT: Readonly<Record<EncapMode, string>> = { Never: '', Always: 'always', CrossSubnet: 'cross-subnet' };

function poolId(cidr: string): string {
  return cidr.replace('/', '-');
}

type ProfileOwner =
  | { readonly kind: 'namespace'; readonly name: string }
  | { readonly kind: 'service-account'; readonly namespace: string; readonly name: string };

/** The namespace of a profile `kns.NAME`, the service account of a profile `ksa.NAMESPACE.NAME`. */
function profileOwner(profile: string): ProfileOwner | undefined {
  const account = /^ksa\.([^.]+)\.(.+)$/.exec(profile);
  if (account !== null) return { kind: 'service-account', namespace: account[1] ?? '', name: account[2] ?? '' };
  return profile.startsWith('kns.') ? { kind: 'namespace', name: profile.slice('kns.'.length) } : undefined;
}

/** Hands these messages to the sequencer, without comparing with what was sent before. */
export class Passthrough {
  readonly #sequencer: EventSequencer;

  constructor(sequencer: EventSequencer) {
    this.#sequencer = sequencer;
  }

  setPool(key: string, pool: PoolModel): void {
    this.#sequencer.pools.update(
      key,
      create(IPAMPoolUpdateSchema, {
        id: poolId(key),
        pool: {
          cidr: key,
          masquerade: pool.natOutgoing,
          ipipMode: MODE_TEXT[pool.ipipMode],
          vxlanMode: MODE_TEXT[pool.vxlanMode],
          allowedUses: [...pool.allowedUses],
        },
      }),
    );
  }

  removePool(key: string): void {
    this.#sequencer.pools.remove(key, create(IPAMPoolRemoveSchema, { id: poolId(key) }));
  }

  setBgpConfig(config: BgpConfigModel): void {
    this.#sequencer.bgpConfig.set(
      create(GlobalBGPConfigUpdateSchema, {
        serviceClusterCidrs: [...config.clusterCidrs],
        serviceExternalCidrs: [...config.externalCidrs],
        serviceLoadbalancerCidrs: [...config.loadBalancerCidrs],
        localWorkloadPeeringIpV4: config.peeringIpV4,
        localWorkloadPeeringIpV6: config.peeringIpV6,
      }),
    );
  }

  /** Felix sends an empty configuration when there is none any more. */
  removeBgpConfig(): void {
    this.#sequencer.bgpConfig.set(create(GlobalBGPConfigUpdateSchema));
  }

  setService(key: string, service: ServiceModel): void {
    this.#sequencer.services.update(
      key,
      create(ServiceUpdateSchema, {
        name: service.name,
        namespace: service.namespace,
        type: service.type,
        clusterIps: [...service.clusterIps],
        loadbalancerIp: service.loadBalancerIp,
        externalIps: [...service.externalIps],
        ports: service.ports.map(({ protocol, port, nodePort }) => ({
          Protocol: protocol,
          Port: port,
          NodePort: nodePort,
        })),
        loadbalancerIngressIps: [...service.ingressIps],
      }),
    );
  }

  removeService(key: string): void {
    const [namespace = '', name = ''] = key.split('/');
    this.#sequencer.services.remove(key, create(ServiceRemoveSchema, { name, namespace }));
  }

  setProfileLabels(name: string, labels: Labels): void {
    const owner = profileOwner(name);
    if (owner === undefined) return;
    const prefix = owner.kind === 'namespace' ? 'pcns.' : 'pcsa.';
    const own = Object.fromEntries(
      [...labels].map(([key, value]) => [key.startsWith(prefix) ? key.slice(prefix.length) : key, value]),
    );
    if (owner.kind === 'namespace') {
      this.#sequencer.namespaces.update(name, create(NamespaceUpdateSchema, { id: { name: owner.name }, labels: own }));
    } else {
      const id = { namespace: owner.namespace, name: owner.name };
      this.#sequencer.serviceAccounts.update(name, create(ServiceAccountUpdateSchema, { id, labels: own }));
    }
  }

  removeProfileLabels(name: string): void {
    const owner = profileOwner(name);
    if (owner?.kind === 'namespace') {
      this.#sequencer.namespaces.remove(name, create(NamespaceRemoveSchema, { id: { name: owner.name } }));
    } else if (owner !== undefined) {
      const id = { namespace: owner.namespace, name: owner.name };
      this.#sequencer.serviceAccounts.remove(name, create(ServiceAccountRemoveSchema, { id }));
    }
  }
}
