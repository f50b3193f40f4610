// Watches links with a small receive buffer, sleeps through more news than fit, and prints what it hears afterwards.
import { execFileSync } from 'node:child_process';
import { loadNativeLibrary, type NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { GROUP } from '../../../src/kernel/netlink/rtnetlink.js';
import { NETLINK, NetlinkSocket } from '../../../src/kernel/netlink/socket.js';

const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SMALL = Buffer.from([0, 0x40, 0, 0]);

const { library, reason } = loadNativeLibrary();
if (library === null) throw new Error(reason);
const small: NativeLibrary = {
  ...library,
  setsockopt: (fd, level, option, value, length) => {
    const isReceive = level === SOL_SOCKET && option === SO_RCVBUFFORCE;
    return library.setsockopt(fd, level, option, isReceive ? SMALL : value, length);
  },
};
const socket = new NetlinkSocket(small, NETLINK.route, { groups: [GROUP.link] });
let lost = 0;
let heardAfterLoss = 0;
socket.watch(
  () => {
    if (lost > 0) heardAfterLoss += 1;
  },
  () => {
    lost += 1;
    console.log('lost');
  },
);
// Synchronous on purpose: nothing is read meanwhile.
execFileSync('sh', ['-c', 'for i in $(seq 40); do ip link add v$i type veth peer name w$i; done']);
setInterval(() => {
  if (lost === 0) return;
  execFileSync('ip', ['link', 'set', 'v1', heardAfterLoss % 2 === 0 ? 'up' : 'down']);
  if (heardAfterLoss < 4) return;
  console.log('heard');
  process.exit(0);
}, 20);
