// Sends hand-made packets through a raw socket, so that they pass the hooks of output as the kernel's own do. Called as
// `node packets-raw.mjs [{family, target, hex, count}, …]`: `hex` is the whole packet with its IP header.
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const sendto = libc.func(
  'long sendto(int fd, const void *buf, size_t len, int flags, const void *addr, uint32_t addrlen)',
);
const AF = { 4: 2, 6: 10 };
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

function addressBytes(family, target) {
  const bytes = Buffer.alloc(family === 4 ? 16 : 28);
  bytes.writeUInt16LE(AF[family], 0);
  Buffer.from(target, 'hex').copy(bytes, family === 4 ? 4 : 8);
  return bytes;
}

for (const { family, target, hex } of JSON.parse(process.argv[2])) {
  const fd = socket(AF[family], SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) throw new Error(`No raw socket, errno ${koffi.errno()}`);
  const packet = Buffer.from(hex, 'hex');
  const address = addressBytes(family, target);
  const sent = sendto(fd, packet, packet.length, 0, address, address.length);
  // EPERM: a hook of output dropped it, which is what a test may want to see.
  if (sent !== packet.length && koffi.errno() !== 1) throw new Error(`sendto failed with errno ${koffi.errno()}`);
}
