// What a message is about: the key under which newer messages replace older ones, and the check that it has one.
import type { FromDataplanePayload, ToDataplanePayload } from './session.js';

/** Kinds of objects that messages come and go for; both the update and the remove of an object share its kind. */
export type ObjectKind =
  | 'config'
  | 'inSync'
  | 'ipset'
  | 'policy'
  | 'profile'
  | 'workload'
  | 'hostEndpoint'
  | 'serviceAccount'
  | 'namespace'
  | 'route'
  | 'vtep'
  | 'wireguard'
  | 'wireguardV6'
  | 'host'
  | 'pool'
  | 'encapsulation'
  | 'bgpConfig'
  | 'service';

/** Identity of the object of a message. `id` is unique within the kind; parts are joined by NUL, which no id holds. */
export interface ObjectKey {
  readonly kind: ObjectKind;
  readonly id: string;
}

const SINGLETON = '';

function join(...parts: readonly (string | undefined)[]): string {
  return parts.map((part) => part ?? '').join('\0');
}

/** The object that a payload is about. Never throws; a missing id gives empty parts (see messageFault). */
export function objectKey(payload: ToDataplanePayload): ObjectKey {
  switch (payload.case) {
    case 'configUpdate':
      return { kind: 'config', id: SINGLETON };
    case 'inSync':
      return { kind: 'inSync', id: SINGLETON };
    case 'encapsulation':
      return { kind: 'encapsulation', id: SINGLETON };
    case 'globalBgpConfigUpdate':
      return { kind: 'bgpConfig', id: SINGLETON };
    case 'ipsetUpdate':
    case 'ipsetDeltaUpdate':
    case 'ipsetRemove':
      return { kind: 'ipset', id: payload.value.id };
    case 'activePolicyUpdate':
    case 'activePolicyRemove': {
      const { id } = payload.value;
      return { kind: 'policy', id: join(id?.kind, id?.namespace, id?.name) };
    }
    case 'activeProfileUpdate':
    case 'activeProfileRemove':
      return { kind: 'profile', id: join(payload.value.id?.name) };
    case 'workloadEndpointUpdate':
    case 'workloadEndpointRemove': {
      const { id } = payload.value;
      return { kind: 'workload', id: join(id?.orchestratorId, id?.workloadId, id?.endpointId) };
    }
    case 'hostEndpointUpdate':
    case 'hostEndpointRemove':
      return { kind: 'hostEndpoint', id: join(payload.value.id?.endpointId) };
    default:
      return networkKey(payload);
  }
}

type NetworkPayload = Extract<
  ToDataplanePayload,
  {
    case:
      | `hostMetadata${string}`
      | `ipamPool${string}`
      | `serviceAccount${string}`
      | `namespace${string}`
      | `route${string}`
      | `vtep${string}`
      | `wireguard${string}`
      | 'serviceUpdate'
      | 'serviceRemove';
  }
>;

function networkKey(payload: NetworkPayload): ObjectKey {
  switch (payload.case) {
    case 'hostMetadataUpdate':
    case 'hostMetadataRemove':
      return { kind: 'host', id: payload.value.hostname };
    case 'ipamPoolUpdate':
    case 'ipamPoolRemove':
      return { kind: 'pool', id: payload.value.id };
    case 'serviceAccountUpdate':
    case 'serviceAccountRemove':
      return { kind: 'serviceAccount', id: join(payload.value.id?.namespace, payload.value.id?.name) };
    case 'namespaceUpdate':
    case 'namespaceRemove':
      return { kind: 'namespace', id: join(payload.value.id?.name) };
    case 'routeUpdate':
    case 'routeRemove':
      return { kind: 'route', id: payload.value.dst };
    case 'vtepUpdate':
    case 'vtepRemove':
      return { kind: 'vtep', id: payload.value.node };
    case 'wireguardEndpointUpdate':
    case 'wireguardEndpointRemove':
      return { kind: 'wireguard', id: payload.value.hostname };
    case 'wireguardEndpointV6Update':
    case 'wireguardEndpointV6Remove':
      return { kind: 'wireguardV6', id: payload.value.hostname };
    case 'serviceUpdate':
    case 'serviceRemove':
      return { kind: 'service', id: join(payload.value.namespace, payload.value.name) };
  }
}

const SINGLETONS: ReadonlySet<ObjectKind> = new Set(['config', 'inSync', 'encapsulation', 'bgpConfig']);

/**
 * Why a message cannot be acted on (`has no id`, `has no endpoint`), or null. A policy or profile without body is not
 * a fault: protobuf leaves out an empty one, and no rules means deny.
 */
export function messageFault(payload: ToDataplanePayload): string | null {
  const { kind, id } = objectKey(payload);
  if (!SINGLETONS.has(kind) && id.replaceAll('\0', '') === '') return 'has no id';
  switch (payload.case) {
    case 'workloadEndpointUpdate':
    case 'hostEndpointUpdate':
      return payload.value.endpoint === undefined ? 'has no endpoint' : null;
    case 'ipamPoolUpdate':
      return payload.value.pool === undefined ? 'has no pool' : null;
    default:
      return null;
  }
}

/** The key under which a newer status replaces one that still waits to be sent. */
export function statusKey(payload: FromDataplanePayload): string {
  switch (payload.case) {
    case 'workloadEndpointStatusUpdate':
    case 'workloadEndpointStatusRemove': {
      const { id } = payload.value;
      return join('workload', id?.orchestratorId, id?.workloadId, id?.endpointId);
    }
    case 'hostEndpointStatusUpdate':
    case 'hostEndpointStatusRemove':
      return join('host', payload.value.id?.endpointId);
    case 'wireguardStatusUpdate':
      return join('wireguard', String(payload.value.ipVersion));
    case 'processStatusUpdate':
      return 'process';
    case 'dataplaneInSync':
      return 'inSync';
  }
}
