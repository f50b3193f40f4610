// What happens to the interfaces of a random node: links that go down, away and come back, addresses that change.
import { type Dice, PODS } from './random-resources.js';

/** Shell lines that hold on two nodes alike; each is right whatever the lines before it have left. */
export function hostEvent(dice: Dice): string {
  const number = dice.integer(PODS);
  const name = `cali${number}`;
  const mac = (number + 2).toString(16).padStart(2, '0');
  return dice.pick([
    () => `ip link set ${name} down || true`,
    () => `ip link set ${name} up || true`,
    () => `ip link del ${name} || true`,
    () => `
      ip link del ${name} || true
      ip link add ${name} address 02:00:00:00:00:${mac} type veth peer name p${number} address 02:00:00:00:01:${mac}
      ip link set ${name} up; ip link set p${number} up`,
    () => `ip link set eth1 ${dice.pick(['down', 'up'])}`,
    () => `ip addr ${dice.pick(['replace', 'del'])} 172.30.0.${2 + dice.integer(2)}/24 dev eth1 || true`,
    () => `ip addr ${dice.pick(['replace', 'del'])} 192.168.0.${11 + dice.integer(2)}/32 dev eth0 || true`,
    () => `ip -6 addr replace fd00:30::${2 + dice.integer(2)}/64 dev eth1 nodad`,
  ])();
}
