// The seams of Wireguard: what the manager asks for, and what a driver of the kernel's generic netlink family must do
// (dataplane.md 6.7).
import type { Family } from '../model/family.js';

/** A peer that is wanted. Prefixes canonical and sorted. */
export interface WireguardPeer {
  /** Base64, 44 characters. */
  readonly publicKey: string;
  /** Address of the node, without length. */
  readonly endpoint: string;
  readonly allowedIps: readonly string[];
}

/** What the Wireguard manager of one family may ask for. Cheap calls that write nothing. */
export interface WireguardPeers {
  readonly family: Family;
  /** Adds or replaces the peer with this key. */
  setPeer(peer: WireguardPeer): void;
  removePeer(publicKey: string): void;
  /** Address of the device, without length; null = none. */
  setDeviceAddress(address: string | null): void;
  /** The key that the control plane has for this node; an empty one if it has none. Another than ours is corrected. */
  setPublishedKey(publicKey: string): void;
}

/** A peer as the kernel has it. */
export interface WireguardKernelPeer {
  readonly publicKey: string;
  /** Null until a handshake or a configuration gave one. */
  readonly endpoint: { readonly address: string; readonly port: number } | null;
  readonly allowedIps: readonly string[];
  /** 0 = off. */
  readonly keepaliveMs: number;
}

/** A Wireguard device as the kernel has it. Private keys never leave the kernel and the driver behind the seam. */
export interface WireguardDeviceState {
  /** Empty while the device has no private key. */
  readonly publicKey: string;
  readonly listenPort: number;
  readonly mark: number;
  readonly peers: readonly WireguardKernelPeer[];
}

/** What went over a device, peer by peer. */
export interface WireguardTraffic {
  /** Empty while the device has no private key. */
  readonly publicKey: string;
  readonly listenPort: number;
  readonly peers: readonly {
    readonly publicKey: string;
    readonly endpoint: WireguardKernelPeer['endpoint'];
    readonly sentBytes: bigint;
    readonly receivedBytes: bigint;
    /** Seconds since 1970; null = there was none yet. */
    readonly lastHandshake: bigint | null;
  }[];
}

/** One change of a device. All changes of one call are one generic netlink message, or as few as it takes. */
export type WireguardChange =
  | { readonly op: 'generate-key' }
  | { readonly op: 'set-listen-port'; readonly port: number }
  | { readonly op: 'set-mark'; readonly mark: number }
  /** Replaces endpoint, prefixes and keepalive; creates the peer if it is new. */
  | { readonly op: 'set-peer'; readonly peer: WireguardKernelPeer }
  | { readonly op: 'remove-peer'; readonly publicKey: string };

/** A driver of the kernel's Wireguard. Rejects with a `NetlinkError` on failure. */
export interface WireguardControl {
  /** The device, or null when it does not exist or is of another kind. */
  read(deviceName: string): Promise<WireguardDeviceState | null>;
  /** What went over the device until now; null where it cannot be told. Never throws. */
  traffic(deviceName: string): WireguardTraffic | null;
  /** Carries the changes out in order. */
  configure(deviceName: string, changes: readonly WireguardChange[]): Promise<void>;
}
