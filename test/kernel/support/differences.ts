// Where we differ from Felix on purpose (docs/differences.md): named line by line, never by a pattern.
import type { Mode } from '../../fixtures/recording.js';
import type { NamedDifference } from './replay.js';

/** Row 2 of docs/differences.md: one form of nftables' filter-cali-OUTPUT, by the hashes of its last rules. */
interface OutputChain {
  readonly felixJump: string;
  readonly felixAccept: string;
  readonly ourReturn: string;
  readonly ourJump: string;
  readonly ourAccept: string;
}

const PLAIN: OutputChain = {
  felixJump: 'OEg1D1yn2B2IRfVG',
  felixAccept: 'ZxVD63uRncCV21YB',
  ourReturn: 'BdwouRYCiMRMKM5s',
  ourJump: '-9e5lOlLi7zEQ7a3',
  ourAccept: 'iXrD-zvb0VihHbG0',
};
const IPVS: OutputChain = {
  felixJump: 'XQ42uUI9qeG_bzdb',
  felixAccept: 'g-CtIwxMIgFe66fg',
  ourReturn: 'pmPTHAT-z1TEkfQa',
  ourJump: '1JJNTV5dnXeoGgGb',
  ourAccept: 'z3OHSeEKQbiVQrf5',
};
const VXLAN: OutputChain = {
  felixJump: 'lcOFavYL6gslb8h_',
  felixAccept: 'VV3w_F7Dkj1IHDev',
  ourReturn: 'jJmX3Gz2qlQLjavh',
  ourJump: '7tjNmn7g0zVDhhAx',
  ourAccept: 'ZzFyOPPtC0g8TCi0',
};
const IPIP: OutputChain = {
  felixJump: 'zoOVXP8zlhF4qfdY',
  felixAccept: 'jjBIHew29_E6SLP_',
  ourReturn: 'v9C_PbKE_oPZRKBP',
  ourJump: '2ppOfrgIfF1ELn1P',
  ourAccept: 'NltpXymAqNbsDlxA',
};

/** Recording → the forms of the chain that its dumps hold: IPv4 first where the families differ. */
const OUTPUT_CHAINS: Readonly<Record<string, readonly OutputChain[]>> = {
  'actions-accept': [PLAIN],
  'churn-0': [PLAIN],
  'cluster-routes': [PLAIN],
  'dual-stack': [PLAIN],
  'failsafe-custom': [PLAIN],
  'flow-logs': [PLAIN],
  'host-endpoint-named': [PLAIN],
  'interface-flap': [PLAIN],
  'ip-sets': [PLAIN],
  ipip: [IPIP, PLAIN],
  ipvs: [IPVS],
  'nat-options': [PLAIN],
  'nat-outgoing': [PLAIN],
  'pod-features': [PLAIN],
  'pod-lifecycle': [PLAIN],
  'policy-groups': [PLAIN],
  'rule-zoo': [PLAIN],
  tiers: [PLAIN],
  vxlan: [VXLAN, PLAIN],
};

function outputDifferences(recording: string, chain: OutputChain): NamedDifference[] {
  const accept = (hash: string): string =>
    `\t\tmeta mark & 0x00010000 == 0x00010000 counter accept comment "cali:${hash}; Host endpoint policy accepted packet."`;
  return [
    {
      recording,
      file: 'nft',
      was: `\t\tct status != dnat counter jump filter-cali-to-host-endpoint comment "cali:${chain.felixJump};"`,
      now: [
        `\t\tct status dnat counter return comment "cali:${chain.ourReturn};"`,
        `\t\tcounter jump filter-cali-to-host-endpoint comment "cali:${chain.ourJump};"`,
      ],
    },
    { recording, file: 'nft', was: accept(chain.felixAccept), now: [accept(chain.ourAccept)] },
  ];
}

export const DIFFERENCES: Record<Mode, readonly NamedDifference[]> = {
  'iptables-legacy': [],
  'iptables-nft': [],
  nftables: Object.entries(OUTPUT_CHAINS).flatMap(([recording, chains]) =>
    chains.flatMap((chain) => outputDifferences(recording, chain)),
  ),
};
