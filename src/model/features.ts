// What the tools and the kernel of this machine can do; detected once at start (dataplane.md 3.13, 4.5).

/** Feature flags; several are part of rendered rules and so of their hashes. */
export interface Features {
  /** `--random-fully` on SNAT: iptables ≥ 1.6.0 and kernel ≥ 3.14. */
  readonly snatFullyRandom: boolean;
  /** `--random-fully` on MASQUERADE: iptables ≥ 1.6.2 and kernel ≥ 3.14. */
  readonly masqueradeFullyRandom: boolean;
  /** `--wait` on restore: iptables ≥ 1.6.2. */
  readonly restoreSupportsLock: boolean;
  /** `--nflog-size` instead of `--nflog-range`: kernel ≥ 4.8. */
  readonly nflogSize: boolean;
  /** TX checksum offload of vxlan devices is off on kernels ≤ 5.7.0. */
  readonly checksumOffloadBroken: boolean;
}

/** The flags of every machine younger than 2020. */
export const MODERN_FEATURES: Features = {
  snatFullyRandom: true,
  masqueradeFullyRandom: true,
  restoreSupportsLock: true,
  nflogSize: true,
  checksumOffloadBroken: false,
};
