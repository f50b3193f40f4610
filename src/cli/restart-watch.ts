// Facts of the node that a running dataplane cannot change over to: when one changes, Felix restarts, and so do we.
import { DataplaneError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Refresh } from '../driver/loop.js';
import { detectHostMtu } from '../interfaces/host-mtu.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import { detectNftablesMode } from '../tables/nftables/mode.js';
import type { KernelAccess } from './kernel-access.js';

/** The link that kube-proxy has in IPVS mode. */
export const IPVS_INTERFACE = 'kube-ipvs0';
/** Felix looks as often (dataplane.md 2.7, 5.1). */
const HOST_MTU_CHECK_MS = 30_000;
const NFTABLES_MODE_CHECK_MS = 15_000;

/** What is watched, and whom to tell. */
export interface RestartWatch {
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly builder: { readonly access: KernelAccess; readonly log: Logger };
  /** The dataplane must not go on as it is. */
  fail(error: unknown): void;
}

function needsRestart(what: string): DataplaneError {
  return new DataplaneError('tool', `${what}: a restart is needed to follow it`);
}

/** Devices, rules and pods depend on the host's MTU. */
function watchHostMtu({ config, environment, builder, fail }: RestartWatch): Refresh {
  const { access, log } = builder;
  return {
    name: 'host MTU',
    intervalMs: HOST_MTU_CHECK_MS,
    queueResync: () => {
      access.routes.listLinks().then(
        (links) => {
          const now = detectHostMtu(links, config.mtuIfacePattern);
          if (now !== environment.hostMtu)
            fail(needsRestart(`The host MTU changed from ${environment.hostMtu} to ${now}`));
        },
        (error: unknown) => log.warn('The host MTU cannot be checked', { error: errorMessage(error) }),
      );
    },
  };
}

/** With NFTablesMode Auto the back end follows kube-proxy's. A failed look changes nothing, as in Felix. */
function watchNftablesMode({ config, environment, builder, fail }: RestartWatch): Refresh {
  const { access, log } = builder;
  const check = async (): Promise<void> => {
    const { backend, reasons, isCertain } = await detectNftablesMode(access.nft, config.nftablesMode);
    if (backend === environment.backend) return;
    if (isCertain) fail(needsRestart(`kube-proxy's mode now asks for ${backend} (${reasons.join('; ')})`));
    else log.warn("kube-proxy's mode cannot be checked", { reasons });
  };
  return {
    name: 'nftables mode',
    intervalMs: config.nftablesMode === 'Auto' ? NFTABLES_MODE_CHECK_MS : 0,
    queueResync: () => {
      check().catch(fail);
    },
  };
}

/** The checks by timer. */
export function restartChecks(watch: RestartWatch): readonly Refresh[] {
  return [watchHostMtu(watch), watchNftablesMode(watch)];
}

/** kube-proxy turned to IPVS, or away from it (2.8). */
export function checkIpvs({ environment, fail }: RestartWatch, event: InterfaceStateEvent): void {
  if (event.name !== IPVS_INTERFACE || (event.state !== 'absent') === environment.ipvs) return;
  fail(needsRestart(`${IPVS_INTERFACE} ${environment.ipvs ? 'went away' : 'appeared'}: kube-proxy changed its mode`));
}
