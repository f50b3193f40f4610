import { describe, expect, it } from 'vitest';
import { HashRing, saltedHash } from '../../../src/managers/network/hash-ring.js';
import { xxh3 } from '../../../src/managers/network/xxh3.js';

/** `abc…zabc…` of this length. */
function alphabet(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => 97 + (index % 26)));
}

describe('xxh3', () => {
  // Printed by github.com/zeebo/xxh3 v1.0.2 for the same input.
  it.each([
    [0, '2d06800538d394c2'],
    [1, 'e6c632b61e964e1f'],
    [2, 'a873719c24d5735c'],
    [3, '78af5f94892f3950'],
    [4, '6497a96f53a89890'],
    [5, '55c65158ee9e652d'],
    [7, '5a40dc3fd44c052f'],
    [8, '6f45a76842a96483'],
    [9, 'e0dde4fc174590a0'],
    [15, 'a8edaf6dc2724d85'],
    [16, '3d3ccac9af14d8a8'],
    [17, 'ca7f3571df47cacf'],
    [31, '7486490ed1524498'],
    [32, '721f9b13256c3123'],
    [33, '058046b5385c21f9'],
    [63, 'cf2cbff8554cdaff'],
    [64, '101fc40ce7f1f785'],
    [65, '1035caa3cab1636f'],
    [95, 'ef4beb9845b9cb68'],
    [96, 'dd382c734addd887'],
    [97, '997d5af28f0816ff'],
    [127, 'c37a64e55d388ae5'],
    [128, '3e99edc6c76f21c6'],
    [129, '852cb20608c9d2c7'],
    [144, '1b673535414321d9'],
    [239, '07a82bb3630514cb'],
    [240, 'ea0e0f78188232ed'],
    [241, 'bb0a906af5b5c211'],
    [255, 'a5322cf317f47b15'],
    [256, '81c9c1c2f95365a6'],
    [257, '108186a23f8b278e'],
    [512, '169887a206a45c62'],
    [513, '2133af2e4a905982'],
    [600, '2bd2e5d10e8d5056'],
  ])('of %i letters is %s', (length, expected) => {
    expect(xxh3(alphabet(length)).toString(16).padStart(16, '0')).toBe(expected);
  });
});

describe('HashRing', () => {
  // Printed by Calico's own hashring with 100 replicas.
  it('places keys as Calico does', () => {
    expect(saltedHash('node1', 0)).toBe(0xbe3ebc60a4f35262n);
    expect(saltedHash('node1', 99)).toBe(0x40375f4609964623n);
    const ring = new HashRing();
    for (let n = 0; n < 7; n++) ring.add(`node-${n}.example.com`);
    expect(ring.remove('node-3.example.com')).toBe(true);
    const owners = Array.from({ length: 24 }, (_, index) => ring.ownerOf(`10.0.0.${index}`)?.charAt(5));
    expect(owners.join('')).toBe('162150111662640011662256');
    expect(ring.ownerOf('fd00::1')).toBe('node-5.example.com');
  });

  it('does not depend on the order of changes', () => {
    const first = new HashRing();
    const second = new HashRing();
    for (const member of ['a', 'b', 'c', 'gone']) first.add(member);
    first.ownerOf('x');
    first.remove('gone');
    for (const member of ['c', 'b', 'a']) second.add(member);
    for (let n = 0; n < 50; n++) expect(first.ownerOf(`k${n}`)).toBe(second.ownerOf(`k${n}`));
  });

  it('says whether anything changed, and has no owner when empty', () => {
    const ring = new HashRing();
    expect(ring.ownerOf('10.0.0.1')).toBeNull();
    expect([ring.add('a'), ring.add('a'), ring.remove('a'), ring.remove('a')]).toEqual([true, false, true, false]);
    expect(ring.ownerOf('10.0.0.1')).toBeNull();
  });
});
