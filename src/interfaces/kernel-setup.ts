// What the kernel must be told once at start, before anything is programmed (dataplane.md 2.6).
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { CommandRunner } from '../kernel/command.js';
import type { HostFiles } from '../kernel/files.js';
import type { DataplaneConfig } from '../model/config.js';
import type { OperationObserver } from '../model/operation.js';

/** What the set-up is made with. */
export interface KernelSetupOptions {
  readonly config: DataplaneConfig;
  readonly runner: CommandRunner;
  readonly files: HostFiles;
  readonly logger: Logger;
  readonly observe: OperationObserver;
  /** `/proc/sys`; another folder in tests. */
  readonly procSys: string;
}

function modulesFor(config: DataplaneConfig): string[] {
  return [
    'nf_conntrack_proto_sctp',
    ...(config.wireguardEnabled || config.wireguardEnabledV6 ? ['wireguard'] : []),
    ...(config.nftablesFlowTableOffload === 'All' ? ['nf_flow_table'] : []),
  ];
}

function sysctlsFor(config: DataplaneConfig): [path: string, value: string][] {
  const forwarding: [string, string][] =
    config.ipForwarding === 'Enabled'
      ? [
          ['net/ipv4/ip_forward', '1'],
          ...(config.ipv6Support ? ([['net/ipv6/conf/all/forwarding', '1']] satisfies [string, string][]) : []),
        ]
      : [];
  return [...forwarding, ['net/netfilter/nf_conntrack_acct', '1']];
}

/**
 * Loads modules and sets forwarding and connection accounting. Never rejects: what cannot be had is logged, as most
 * kernels have the modules built in.
 */
export async function setUpKernel(options: KernelSetupOptions): Promise<void> {
  const { config, runner, files, logger, observe, procSys } = options;
  for (const module of modulesFor(config)) {
    try {
      const result = await runner.run({ argv: ['modprobe', module] });
      if (result.exitCode !== 0) logger.info('Kernel module was not loaded', { module, stderr: result.stderr.trim() });
    } catch (error) {
      logger.warn('Kernel module was not loaded: commands cannot be run', { module, error: errorMessage(error) });
    }
  }
  for (const [path, value] of sysctlsFor(config)) {
    const file = `${procSys}/${path}`;
    try {
      if ((await files.read(file))?.trim() === value) continue;
      await files.write(file, value);
      observe({ room: 'interfaces', verb: 'write-sysctl', object: path });
    } catch (error) {
      logger.error('Sysctl could not be set', { path, value, error: errorMessage(error) });
    }
  }
}
