// Hands Felix's IP sets to the set plane of one family (dataplane.md 2.1 IPSetsManager). Both families get every set;
// the plane keeps the members of its own.
import type { IpSets } from '../ipsets/ip-sets.js';
import type { IpSetType } from '../model/ip-set.js';
import { IPSetUpdate_IPSetType } from '../protocol/gen/felix/felixbackend_pb.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. */
export interface IpSetsManagerOptions {
  readonly ipSets: IpSets;
  /** MaxIpsetSize. */
  readonly maxSize: number;
}

function ipSetType(type: IPSetUpdate_IPSetType): IpSetType {
  switch (type) {
    case IPSetUpdate_IPSetType.IP:
      return 'hash:ip';
    case IPSetUpdate_IPSetType.IP_AND_PORT:
      return 'hash:ip,port';
    case IPSetUpdate_IPSetType.NET:
      return 'hash:net';
  }
}

/** Passes set updates straight on: the plane itself is a store of desired state, so nothing is deferred. */
export class IpSetsManager implements Manager {
  readonly name: string;
  readonly #options: IpSetsManagerOptions;

  constructor(options: IpSetsManagerOptions) {
    this.#options = options;
    this.name = `ip-sets/${options.ipSets.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    const { ipSets, maxSize } = this.#options;
    switch (message.case) {
      case 'ipsetUpdate': {
        const { id, type, members } = message.value;
        ipSets.setSet({ id, type: ipSetType(type), maxSize }, members);
        return;
      }
      case 'ipsetDeltaUpdate':
        ipSets.addMembers(message.value.id, message.value.addedMembers);
        ipSets.removeMembers(message.value.id, message.value.removedMembers);
        return;
      case 'ipsetRemove':
        ipSets.removeSet(message.value.id);
        return;
      default:
    }
  }

  completeDeferredWork(): boolean {
    return true;
  }
}
