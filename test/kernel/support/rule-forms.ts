// Every form that rules of ours have, as scripts for the compilers of both iptables variants.
import type { Family } from '../../../src/model/family.js';
import type { FamilyScript } from './restore-scripts.js';

/** Rules of one table, each in a chain of its own, with a hash as all of ours have. */
export function formsOf(family: Family, table: string, rules: readonly string[]): FamilyScript[] {
  const target = `*${table}\n:cali-target - -\nCOMMIT\n`;
  const scripts = rules.map((rule, index) => {
    const chain = `cali-c${index}`;
    return `*${table}\n:${chain} - -\n-A ${chain} -m comment --comment "cali:abc${index}"${rule}\n-A ${chain}${rule}\nCOMMIT\n`;
  });
  return [target, ...scripts].map((script) => [family, script] as const);
}

const EITHER_FAMILY = [
  '',
  ' --jump ACCEPT',
  ' --jump DROP',
  ' --jump RETURN',
  ' --jump cali-target',
  ' --goto cali-target',
  ' -m comment --comment "One, two: three/4 @%+=_."',
  ` -m comment --comment "${'x'.repeat(255)}"`,
  ' --in-interface cali1 --goto cali-target',
  ' --in-interface cali+ --jump cali-target',
  ' --in-interface abcdefghijklmno --jump cali-target',
  ' --out-interface eth0.1 --in-interface eth1 --jump ACCEPT',
  ' --out-interface abcdefghijklmn+ --jump ACCEPT',
  ' -m mark --mark 0/0x10000 --jump MARK --set-mark 0x10000/0x10000',
  ' -m mark ! --mark 0/0xffff0000 --jump MARK --set-mark 0/0xffff0000',
  ' -m mark --mark 0xfffe0000/0xffff0000 --jump MARK --set-mark 0x80000000/0xf0000000',
  ' -m mark ! --mark 0x10000/0x30000 -m mark --mark 0x1/0x1 --jump MARK --set-mark 0x5/0xf8',
  ' -m conntrack --ctstate RELATED,ESTABLISHED --jump RETURN',
  ' -m conntrack ! --ctstate INVALID --jump RETURN',
  ' -m conntrack --ctstate NEW,UNTRACKED --jump RETURN',
  ' -m conntrack --ctstate DNAT --jump RETURN',
  ' -m conntrack ! --ctstate DNAT --jump RETURN',
  ' -p tcp --jump ACCEPT',
  ' ! -p udp --jump ACCEPT',
  ' -p 4 --jump DROP',
  ' -p 47 --jump DROP',
  ' -p 255 --jump DROP',
  ' -p sctp --jump DROP',
  ' -p udplite --jump DROP',
  ' -p tcp -m multiport --destination-ports 80 --jump ACCEPT',
  ' -p udp -m multiport ! --source-ports 1:2,4,6:65535 --jump ACCEPT',
  ' -p sctp -m multiport --source-ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 --jump ACCEPT',
  ' -p tcp -m multiport --source-ports 1 -m multiport ! --destination-ports 0 --jump ACCEPT',
  ' -p udp --dport 4789 --jump ACCEPT',
  ' -p tcp --dport 0 --jump ACCEPT',
  ' -m addrtype --dst-type LOCAL --jump ACCEPT',
  ' -m addrtype ! --src-type MULTICAST --jump ACCEPT',
  ' -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL --jump ACCEPT',
  ' -m limit --limit 1/sec --jump ACCEPT',
  ' -m limit --limit 2000/sec --limit-burst 60 --jump MARK --set-mark 0x80000/0x80000',
  ' -m limit --limit 10000/sec --limit-burst 10000 --jump ACCEPT',
  ' -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit --connlimit-above 10 --connlimit-mask 0 -j REJECT --reject-with tcp-reset',
  ' --jump REJECT',
  ' --jump LOG --log-prefix "calico-packet: " --log-level 5',
  ` --jump LOG --log-prefix "${'x'.repeat(29)}" --log-level 0`,
  ' --jump NFLOG --nflog-group 1 --nflog-prefix DPI1|gnp/a --nflog-size 80',
  ` --jump NFLOG --nflog-group 65535 --nflog-prefix ${'x'.repeat(63)} --nflog-size 1`,
];

const OF_FAMILY = {
  4: [
    ...['10.0.0.1', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '10.1.2.0/26', '128.0.0.0/1'].flatMap(
      (net) => [` --source ${net} --jump ACCEPT`, ` ! --destination ${net} --jump ACCEPT`],
    ),
    ' --source 0.0.0.0/0 --destination 10.0.0.1 --jump ACCEPT',
    ' --destination 10.1.2.3/25 ! --source 10.0.0.0/9 -p tcp --out-interface a --jump ACCEPT',
    ' -p icmp -m icmp --icmp-type 8 --jump ACCEPT',
    ' -p icmp -m icmp ! --icmp-type 3/4 --jump ACCEPT',
    ' -p icmp -m icmp --icmp-type 254/255 --jump ACCEPT',
    ' -p ipencap --jump ACCEPT',
    ' -m set --match-set cali40net src -m set ! --match-set cali40net dst --jump ACCEPT',
    ' -p tcp -m set --match-set cali40port dst,dst -m set ! --match-set cali40port src,src --jump ACCEPT',
  ],
  6: [
    ...['fd00::1', 'fd00::/8', 'fd00:1::/32', 'fd00:1:2:3::/64', 'fd00::1/128', 'fe80::/10'].flatMap((net) => [
      ` --source ${net} --jump ACCEPT`,
      ` ! --destination ${net} --jump ACCEPT`,
    ]),
    ' --source ::/0 --destination fd00::1 --jump ACCEPT',
    ' -p icmpv6 -m icmp6 --icmpv6-type 128 --jump ACCEPT',
    ' -p 58 -m icmp6 ! --icmpv6-type 1/4 --jump ACCEPT',
    ' -p ipv6-icmp --jump ACCEPT',
    ' -m set --match-set cali60net src -m set ! --match-set cali60net dst --jump ACCEPT',
    ' -p tcp -m set --match-set cali60port dst,dst -m set ! --match-set cali60port src,src --jump ACCEPT',
  ],
} as const;

const [V4, V6] = ['10.65.0.2', 'fd00::2'];
const NAT = {
  4: [
    ` --destination 10.0.0.1 --jump DNAT --to-destination ${V4}`,
    ` -p tcp --jump DNAT --to-destination ${V4}:80`,
    ` -p udp --jump SNAT --to-source ${V4}:32768-65000 --random-fully`,
  ],
  6: [
    ` --destination fd00::1 --jump DNAT --to-destination ${V6}`,
    ` -p tcp --jump DNAT --to-destination [${V6}]:80`,
    ` -p udp --jump SNAT --to-source [${V6}]:32768-65000 --random-fully`,
  ],
} as const;

function nat(family: Family): readonly string[] {
  const address = family === 4 ? V4 : V6;
  return [
    ...NAT[family],
    ' --jump ACCEPT',
    ` --jump SNAT --to-source ${address}`,
    ` --jump SNAT --to-source ${address} --random-fully`,
    ' --jump MASQUERADE',
    ' --jump MASQUERADE --random-fully',
    ' -p tcp --jump MASQUERADE --to-ports 4790',
    ' -p 17 --jump MASQUERADE --to-ports 4790-65535 --random-fully',
  ];
}

/** Rules in the kernel's own chains, which are made when they are first needed, and deletions of chains. */
export function hooksOf(family: Family): FamilyScript[] {
  const hooks = {
    filter: ['INPUT', 'FORWARD', 'OUTPUT'],
    mangle: ['POSTROUTING', 'OUTPUT', 'FORWARD', 'INPUT', 'PREROUTING'],
    raw: ['OUTPUT', 'PREROUTING'],
    nat: ['OUTPUT', 'PREROUTING', 'POSTROUTING', 'INPUT'],
  };
  return Object.entries(hooks).flatMap(([table, names]) => [
    [family, `*${table}\n:cali-a - -\n:cali-b - -\n-A cali-a -j RETURN\n-I ${names[0]} -j cali-a\nCOMMIT\n`] as const,
    ...names.map(
      (name) =>
        [
          family,
          `*${table}\n-I ${name} --jump cali-a\n-I ${name} --jump cali-b\n-A ${name} --jump ACCEPT\nCOMMIT\n`,
        ] as const,
    ),
    [family, `*${table}\n:cali-a - -\n:cali-d - -\nCOMMIT\n*${table}\n:cali-d - -\n--delete-chain cali-d\nCOMMIT\n`],
  ]);
}

/** Tables, and the forms that rules have in them. */
export function formsByTable(family: Family): readonly (readonly [table: string, rules: readonly string[]])[] {
  return [
    ['filter', [...EITHER_FAMILY, ' -p tcp --jump REJECT --reject-with tcp-reset', ...OF_FAMILY[family]]],
    [
      'mangle',
      [' --jump DSCP --set-dscp 0', ' --jump DSCP --set-dscp 63', ' -m rpfilter --invert --validmark --jump DROP'],
    ],
    [
      'raw',
      [' --jump NOTRACK', ' -m rpfilter --invert --validmark --jump DROP', ' -p udp --dport 4789 --jump NOTRACK'],
    ],
    ['nat', nat(family)],
  ];
}
