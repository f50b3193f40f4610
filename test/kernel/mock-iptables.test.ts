// The mock control plane in front of a real driver: a sample of the recordings in both iptables modes.
import { mockReplays } from './support/mock-replay.js';

mockReplays('iptables-nft', ['pod-lifecycle', 'tiers', 'vxlan', 'host-endpoint-named']);
mockReplays('iptables-legacy', ['dual-stack', 'policy-groups', 'ip-sets']);
