// One text for a member, and the names that are ours.
import { describe, expect, test } from 'vitest';
import { canonicalMember, isOtherFamily } from '../../../src/ipsets/members.js';
import { isTempIpSetName, ownsIpSet, tempIpSetName } from '../../../src/ipsets/ownership.js';

describe('canonicalMember', () => {
  test.each([
    ['hash:ip', 4, '10.0.0.1', '10.0.0.1'],
    ['hash:ip', 4, '10.0.0.1/32', '10.0.0.1'],
    ['hash:ip', 4, '10.0.0.0/31', null],
    ['hash:ip', 4, '010.0.0.1', null],
    ['hash:ip', 6, 'FD00:0:0::1', 'fd00::1'],
    ['hash:ip', 6, 'fd00::1/128', 'fd00::1'],
    ['hash:ip', 6, 'fd00::1/64', null],
    ['hash:net', 4, '10.0.0.77/24', '10.0.0.0/24'],
    ['hash:net', 4, '10.0.0.77/32', '10.0.0.77'],
    ['hash:net', 4, '0.0.0.0/0', null],
    ['hash:net', 4, '0.0.0.0/1', '0.0.0.0/1'],
    ['hash:net', 4, '10.0.0.0/24 nomatch', null],
    ['hash:net', 4, 'fd00::/64', null],
    ['hash:net', 6, '::/0', null],
    ['hash:net', 6, '8000::/1', '8000::/1'],
    ['hash:net', 6, '::1.2.3.4', '::102:304'],
    ['hash:ip,port', 4, '10.0.0.1,UDP:53', '10.0.0.1,udp:53'],
    ['hash:ip,port', 4, '10.0.0.1,tcp:080', '10.0.0.1,tcp:80'],
    ['hash:ip,port', 4, '10.0.0.1,tcp:65536', null],
    ['hash:ip,port', 4, '10.0.0.1,icmp:1', null],
    ['hash:ip,port', 4, '10.0.0.1,tcp:', null],
    ['hash:ip,port', 6, 'fd00:0::1,sctp:0', 'fd00::1,sctp:0'],
  ] as const)('%s IPv%i %s is %s', (type, family, text, expected) => {
    expect(canonicalMember(type, family, text)).toBe(expected);
  });

  test.each([
    [4, '10.0.0.1', false],
    [4, 'fd00::1', true],
    [4, '10.0.0.1,tcp:80', false],
    [4, 'fd00::1,tcp:80', true],
    [6, '10.0.0.1,tcp:80', true],
    [6, 'fd00::/64', false],
    [4, 'rubbish', false],
    [6, 'rubbish', true],
  ] as const)('isOtherFamily(%i, %s) is %s', (family, text, expected) => {
    expect(isOtherFamily(family, text)).toBe(expected);
  });
});

describe('ownsIpSet', () => {
  test.each([
    ['cali40s:abc', 4],
    ['cali4t17', 4],
    ['cali4-old', 4],
    ['felix-4-x', 4],
    ['felix-masq-ipam-pools', 4],
    ['felix-all-ipam-pools', 4],
    ['cali60s:abc', 6],
    ['felix-6x', 6],
    ['cali-foo', null],
    ['KUBE-CALI40', null],
    ['xcali40', null],
  ] as const)('%s belongs to %s', (name, owner) => {
    expect([ownsIpSet(4, name), ownsIpSet(6, name)]).toEqual([owner === 4, owner === 6]);
  });

  test('temporary names', () => {
    expect(tempIpSetName(6, 3)).toBe('cali6t3');
    expect([isTempIpSetName(4, 'cali4t3'), isTempIpSetName(4, 'cali40t3'), isTempIpSetName(6, 'cali4t3')]).toEqual([
      true,
      false,
      false,
    ]);
  });
});
