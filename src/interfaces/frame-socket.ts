// The seam of raw Ethernet sockets (AF_PACKET): absent where nothing native can open them.

/** An open socket on one interface. It never hears what it sends itself. */
export interface FrameSocket {
  /** The interface's own address, `02:00:00:00:00:01`. */
  readonly mac: string;
  /** Sends a whole Ethernet frame. A failure goes to `onError`. */
  send(frame: Buffer): void;
  /** Multicast addresses whose frames are wanted beyond those that the interface hears anyway. */
  setMulticast(macs: ReadonlySet<string>): void;
  /** Nothing is called afterwards. */
  close(): void;
}

/** What a socket is opened with. */
export interface FrameSocketOptions {
  readonly interfaceName: string;
  /** Only frames of these types are delivered. */
  readonly etherTypes: readonly number[];
  /** Of IPv6, only ICMPv6 messages of these types: all of a host's traffic would be too much. Absent = everything. */
  readonly icmpv6Types?: readonly number[];
  /** A received frame; valid during the call only. */
  readonly onFrame: (frame: Buffer) => void;
  /** The socket is of no use any more; called once. */
  readonly onError: (reason: string) => void;
}

/** Opens a socket, or throws with the reason. */
export type OpenFrameSocket = (options: FrameSocketOptions) => FrameSocket;

/** EtherTypes of IEEE 802. */
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, rarp: 0x8035, ipv6: 0x86dd } as const;
