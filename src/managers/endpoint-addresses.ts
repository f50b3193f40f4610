// Collects addresses of those workload and host endpoints that a feature concerns; DSCP marking and flow offload
// exclusion are the same bookkeeping with another question.
import { isPlainEqual } from '../base/plain-equal.js';
import { isValidCidr } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { Family } from '../model/family.js';
import type { HostEndpoint, WorkloadEndpoint } from '../protocol/gen/felix/felixbackend_pb.js';
import { withoutLength } from './addresses.js';
import { workloadEndpointKey } from './endpoint-keys.js';
import type { DataplaneMessage } from './manager.js';

/** What an endpoint contributes: its addresses of the family without length, and a value that goes with them. */
export interface EndpointAddresses<Value> {
  readonly addresses: readonly string[];
  readonly value: Value;
}

/** The question asked of every endpoint. `null` = the feature does not concern it. */
export interface EndpointQuestion<Value> {
  workload(endpoint: WorkloadEndpoint): Value | null;
  host(endpoint: HostEndpoint): Value | null;
}

/** Endpoints that a feature concerns, by key. Only a change of what they contribute makes it dirty. */
export class EndpointAddressIndex<Value> {
  readonly #family: Family;
  readonly #question: EndpointQuestion<Value>;
  readonly #log: Logger;
  readonly #entries = new Map<string, EndpointAddresses<Value>>();
  #isDirty = true;

  constructor(family: Family, question: EndpointQuestion<Value>, log: Logger) {
    this.#family = family;
    this.#question = question;
    this.#log = log;
  }

  onMessage(message: DataplaneMessage): void {
    switch (message.case) {
      case 'workloadEndpointUpdate': {
        const { id, endpoint } = message.value;
        if (id === undefined || endpoint === undefined) return;
        const nets = this.#family === 4 ? endpoint.ipv4Nets : endpoint.ipv6Nets;
        this.#set(`workload ${workloadEndpointKey(id)}`, this.#question.workload(endpoint), nets);
        return;
      }
      case 'workloadEndpointRemove':
        if (message.value.id !== undefined) this.#set(`workload ${workloadEndpointKey(message.value.id)}`, null, []);
        return;
      case 'hostEndpointUpdate': {
        const { id, endpoint } = message.value;
        if (id === undefined || endpoint === undefined) return;
        const addresses = this.#family === 4 ? endpoint.expectedIpv4Addrs : endpoint.expectedIpv6Addrs;
        this.#set(`host ${id.endpointId}`, this.#question.host(endpoint), addresses);
        return;
      }
      case 'hostEndpointRemove':
        if (message.value.id !== undefined) this.#set(`host ${message.value.id.endpointId}`, null, []);
        return;
      default:
    }
  }

  /** All entries if anything changed since the last call (or never called), else null. */
  takeIfDirty(): EndpointAddresses<Value>[] | null {
    if (!this.#isDirty) return null;
    this.#isDirty = false;
    return [...this.#entries.values()];
  }

  #set(key: string, value: Value | null, nets: readonly string[]): void {
    const addresses = value === null ? [] : this.#usable(key, nets);
    const entry = value === null || addresses.length === 0 ? undefined : { addresses, value };
    if (isPlainEqual(entry, this.#entries.get(key))) return;
    if (entry === undefined) this.#entries.delete(key);
    else this.#entries.set(key, entry);
    this.#isDirty = true;
  }

  #usable(key: string, nets: readonly string[]): string[] {
    const addresses: string[] = [];
    for (const net of nets) {
      if (isValidCidr(net, this.#family)) addresses.push(withoutLength(net));
      else this.#log.error('endpoint has an address that is not one; it is left out', { endpoint: key, address: net });
    }
    return addresses;
  }
}
