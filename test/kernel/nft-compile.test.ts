import { describe, expect, test } from 'vitest';
import { createNamespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('nft-compile');

const EVERY_FAMILY = [
  'counter accept',
  'counter drop',
  'counter return',
  'continue',
  'counter jump target',
  'counter goto target',
  'iifname cali1 counter accept',
  'iifname "bridge" counter accept',
  'iifname cali* counter goto target',
  'oifname "1eth*" counter jump target',
  'iifname vmap @dispatch',
  'oifname vmap @dispatch',
  'meta mark & 0x10000 == 0x10000 counter return',
  'meta mark & 0x10000 == 0 counter return',
  'meta mark & 0x30000 != 0 counter drop',
  'meta mark & 0xffff0000 != 0x10000 counter jump target',
  'counter meta mark set mark or 0x10000',
  'counter meta mark set mark & 0xfffcffff',
  'counter meta mark set mark & 0xfffcffff ^ 0x10000',
];

function network(word: 'ip' | 'ip6', nets: readonly string[], icmp: readonly string[]): string[] {
  return [
    'ct state established,related counter accept',
    'ct state invalid counter drop',
    'ct state new counter drop',
    'ct status dnat counter jump target',
    'ct status ! dnat counter jump target',
    'meta l4proto tcp counter accept',
    'meta l4proto != udp counter accept',
    'meta l4proto ipencap counter drop',
    'meta l4proto 47 counter drop',
    'meta l4proto tcp tcp dport 443 counter accept',
    'tcp dport 443 counter accept',
    'tcp dport { 443 } counter accept',
    'udp dport != 53 counter accept',
    'udp dport != { 53 } counter accept',
    'sctp sport 7 counter accept',
    ...nets.flatMap((net) => [`${word} saddr ${net} counter accept`, `${word} daddr != ${net} counter accept`]),
    `${word} saddr @hosts counter accept`,
    `${word} daddr != @nets counter accept`,
    `meta l4proto tcp ${word} saddr @hosts tcp dport 443 counter accept`,
    `${word} saddr @hosts ${word} daddr @nets counter accept`,
    `${word} saddr @hosts ${word} daddr != @nets counter masquerade fully-random`,
    `${word} saddr @hosts counter masquerade`,
    `${word} saddr . meta l4proto . th sport @ports counter accept`,
    `${word} daddr . meta l4proto . th dport != @ports counter accept`,
    'fib saddr . mark . iif oif 0 counter drop',
    'fib daddr type local counter accept',
    'fib saddr type != local counter accept',
    'fib saddr . oif type != local fib saddr type local counter accept',
    'meta l4proto tcp meta mark & 0x1 == 0x1 counter accept',
    'udp dport 67 counter notrack',
    ...icmp,
  ];
}

const CASES = {
  ip: network(
    'ip',
    ['10.0.0.1', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '10.1.2.0/26', '128.0.0.0/1'],
    [],
  ),
  ip6: network(
    'ip6',
    ['fd00::1', 'fd00::/8', 'fd00:1::/32', 'fd00:1:2:3::/64', 'fd00::1/128', 'fe80::/10'],
    [
      'icmpv6 type nd-neighbor-solicit counter accept',
      'icmpv6 type mld-listener-query counter accept',
      'icmpv6 type mld-listener-report counter accept',
      'icmpv6 type mld-listener-done counter accept',
      'icmpv6 type nd-router-solicit counter accept',
      'icmpv6 type nd-neighbor-advert counter accept',
      'icmpv6 type 128 counter accept',
      'icmpv6 type != 137 counter accept',
      'meta l4proto ipv6-icmp icmpv6 type 128 counter accept',
    ],
  ),
  arp: ['oifname cali1 arp operation reply arp saddr ip 10.0.0.1 counter drop'],
} as const;

function setsOf(family: 'ip' | 'ip6', table: string): string[] {
  const type = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const [host, net] = family === 'ip' ? ['10.0.0.1', '10.0.0.0/26'] : ['fd00::1', 'fd00::/64'];
  return [
    `add set ${table} hosts { type ${type}; }`,
    `add element ${table} hosts { ${host} }`,
    `add set ${table} nets { type ${type}; flags interval; }`,
    `add element ${table} nets { ${net} }`,
    `add set ${table} ports { type ${type} . inet_proto . inet_service; }`,
    `add element ${table} ports { ${host} . tcp . 80 }`,
  ];
}

function script(family: keyof typeof CASES): string {
  const table = `${family} ${family === 'arp' ? 'calico-arp' : 'calico'}`;
  const hook = family === 'arp' ? 'output' : 'postrouting';
  const type = family === 'arp' ? 'filter' : 'nat';
  const rules = [...EVERY_FAMILY, ...CASES[family]];
  return [
    `add table ${table}`,
    `add map ${table} dispatch { type ifname : verdict; }`,
    `add chain ${table} base { type ${type} hook ${hook} priority -110; }`,
    `add chain ${table} target`,
    ...rules.map((_, index) => `add chain ${table} c${index}`),
    ...(family === 'arp' ? [] : setsOf(family, table)),
    ...rules.map((rule, index) => `add rule ${table} c${index} ${rule} comment "cali:abc${index}; Rule ${index}"`),
    `add element ${table} dispatch { "cali1" : goto target, "cali2" : goto c1 }`,
    `delete element ${table} dispatch { "cali2" }`,
    '',
  ].join('\n');
}

interface Loaded {
  readonly dump: string[];
  readonly text: string;
}

describe('compileScript', () => {
  test.each(['ip', 'ip6', 'arp'] as const)(
    'makes of every known form of %s what nft makes of it, byte by byte, and compiles them all',
    async (family) => {
      const namespace = await createNamespace('nftcomp');
      try {
        const output = await namespace.run(PROGRAM, { input: script(family) });
        const { byTool, own, left, isCommitted } = JSON.parse(output) as {
          byTool: Loaded;
          own: Loaded;
          left: string[];
          isCommitted: boolean;
        };
        expect(left.filter((line) => !line.includes('@'))).toEqual([]);
        expect(isCommitted).toBe(true);
        expect(own.text).toEqual(byTool.text);
        expect(own.dump).toEqual(byTool.dump);
        expect(own.dump.length).toBeGreaterThan(20);
      } finally {
        await namespace.remove();
      }
    },
  );
});
