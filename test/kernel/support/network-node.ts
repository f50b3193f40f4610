// A node whose routes, interfaces and tunnels are real, in a namespace, while its rules and sets stay in memory: what
// the recordings say of the network can be compared without the rest.
import { fromBinary } from '@bufbuild/protobuf';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { silentLogger } from '../../../src/base/logger.js';
import { BandwidthReconciler } from '../../../src/interfaces/bandwidth.js';
import { detectHostMtu } from '../../../src/interfaces/host-mtu.js';
import { InterfaceMonitor } from '../../../src/interfaces/interface-monitor.js';
import { InterfaceSysctlsReconciler } from '../../../src/interfaces/interface-sysctls.js';
import { setUpKernel } from '../../../src/interfaces/kernel-setup.js';
import { MonitorProcessSource } from '../../../src/interfaces/link-events.js';
import type { HostFiles } from '../../../src/kernel/files.js';
import { createPolicyManagers } from '../../../src/managers/create-managers.js';
import type { DataplaneMessage, Manager } from '../../../src/managers/manager.js';
import { createNetworkManagers } from '../../../src/managers/network/create-network-managers.js';
import { VXLAN_DEVICES } from '../../../src/managers/network/vxlan-manager.js';
import type { DataplaneConfig } from '../../../src/model/config.js';
import type { Family } from '../../../src/model/family.js';
import type { Operation } from '../../../src/model/operation.js';
import type { Reconciler } from '../../../src/model/reconciler.js';
import { ToDataplaneSchema, type Encapsulation } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { CommandRouteKernel } from '../../../src/routes/command-kernel.js';
import { CommandConntrackCleaner } from '../../../src/routes/conntrack-cleaner.js';
import { LinkAddressesReconciler } from '../../../src/routes/link-addresses-reconciler.js';
import { MainTableOwnership } from '../../../src/routes/ownership.js';
import { RouteTableReconciler } from '../../../src/routes/route-table-reconciler.js';
import { TunnelDevicesReconciler } from '../../../src/routes/tunnel-devices-reconciler.js';
import { VxlanFdbReconciler } from '../../../src/routes/vxlan-fdb-reconciler.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import { parseConfig } from '../../../src/driver/config/config.js';
import { testEnvironment } from '../../fakes/config.js';
import { MemoryIpSets } from '../../fakes/ip-sets.js';
import { memoryTables } from '../../fakes/rule-table.js';
import { MemoryStatus } from '../../fakes/status.js';
import type { Namespace } from './namespace.js';
import { createNamespaceRunner, createNamespaceStreams } from './namespace-runner.js';

/** Files of the namespace: /proc/sys/net is per namespace, so reads and writes go through it. */
export function namespaceFiles(namespace: Namespace): HostFiles {
  return {
    read: (path) => namespace.run(['cat', path]).catch(() => null),
    write: async (path, text) => {
      await namespace.run(['tee', path], { input: text });
    },
    replace: () => Promise.reject(new Error('not used')),
    remove: () => Promise.reject(new Error('not used')),
    stamp: () => Promise.reject(new Error('not used')),
    list: async (path) =>
      (await namespace.run(['ls', path], { reject: false })).split('\n').filter((name) => name !== ''),
  };
}

/** A running node; `feed` takes frames, `settle` applies until nothing is left to do. */
export interface NetworkNode {
  readonly operations: Operation[];
  readonly ipSets: Readonly<Record<Family, MemoryIpSets>>;
  feed(frames: readonly Buffer[]): void;
  settle(): Promise<void>;
  stop(): void;
}

function decode(frame: Buffer): DataplaneMessage {
  return fromBinary(ToDataplaneSchema, frame).payload;
}

/** Starts a node whose configuration and encapsulation are those of the frames. */
export async function startNetworkNode(namespace: Namespace, frames: readonly Buffer[]): Promise<NetworkNode> {
  const messages = frames.map(decode);
  const configUpdate = messages.find((message) => message.case === 'configUpdate');
  if (configUpdate === undefined) throw new Error('A recording without ConfigUpdate');
  const encapsulation = messages.find((message) => message.case === 'encapsulation')?.value;
  const config = parseConfig(configUpdate.value, 'node1').config;
  return new NodeInNamespace(namespace, config, encapsulation).start();
}

class NodeInNamespace implements NetworkNode {
  readonly operations: Operation[] = [];
  readonly ipSets = { 4: new MemoryIpSets(4), 6: new MemoryIpSets(6) };
  readonly #namespace: Namespace;
  readonly #config: DataplaneConfig;
  readonly #encapsulation: Encapsulation | undefined;
  readonly #kernel: CommandRouteKernel;
  #managers: readonly Manager[] = [];
  #reconcilers: readonly Reconciler[] = [];
  #monitor: InterfaceMonitor | null = null;
  #heard = 0;

  constructor(namespace: Namespace, config: DataplaneConfig, encapsulation: Encapsulation | undefined) {
    this.#namespace = namespace;
    this.#config = config;
    this.#encapsulation = encapsulation;
    const runner = createNamespaceRunner(namespace.name);
    this.#kernel = new CommandRouteKernel({ runner, logger: silentLogger });
  }

  async start(): Promise<this> {
    const config = this.#config;
    const kernel = this.#kernel;
    const files = namespaceFiles(this.#namespace);
    const runner = createNamespaceRunner(this.#namespace.name);
    const observe = (operation: Operation): void => {
      this.operations.push(operation);
    };
    const context = { kernel, logger: silentLogger, observe };
    await setUpKernel({ config, runner, files, logger: silentLogger, observe: () => undefined, procSys: '/proc/sys' });
    const environment = testEnvironment({
      hostMtu: detectHostMtu(await kernel.listLinks(), config.mtuIfacePattern),
      ipipEnabled: this.#encapsulation?.ipipEnabled ?? false,
      vxlanEnabled: this.#encapsulation?.vxlanEnabled ?? false,
      vxlanEnabledV6: this.#encapsulation?.vxlanEnabledV6 ?? false,
      noEncapEnabled: this.#encapsulation?.noEncapEnabled ?? false,
    });
    const family = (number: Family) => {
      const ownership = new MainTableOwnership({
        workloadPrefixes: config.interfacePrefixes,
        removeExternalRoutes: config.removeExternalRoutes,
        deviceRouteProtocol: config.deviceRouteProtocol,
        vxlanDevice: VXLAN_DEVICES[number],
        ownsBirdIpipRoutes: false,
      });
      const routes = new RouteTableReconciler({
        ...context,
        family: number,
        table: 254,
        ownership,
        conntrack: new CommandConntrackCleaner({ runner, logger: silentLogger, observe }),
        staticNeighbours: number === 4,
        disabled: false,
        clock: systemClock,
      });
      const linkAddresses = new LinkAddressesReconciler({
        ...context,
        family: number,
        workloadPrefixes: config.interfacePrefixes,
        disabled: false,
      });
      const fdb = new VxlanFdbReconciler({ ...context, family: number, deviceName: VXLAN_DEVICES[number] });
      const renderer = createRuleRenderer({ family: number, backend: 'iptables', config, environment });
      const ipSets = this.ipSets[number];
      return {
        routes,

        linkAddresses,
        fdb,
        ipSets,
        renderer,
        tables: memoryTables(number),
        bgpPeers: ownership,
      };
    };
    const v4 = family(4);
    const v6 = family(6);
    const devices = new TunnelDevicesReconciler({ ...context, clock: systemClock, checksumOffloadFix: null });
    const sysctls = new InterfaceSysctlsReconciler({
      files,
      logger: silentLogger,
      observe,
      procSys: '/proc/sys',
      lister: null,
    });
    const bandwidth = new BandwidthReconciler(context);
    this.#managers = createPolicyManagers({
      v4,
      v6,
      arpTable: null,
      sysctls,
      bandwidth,
      status: new MemoryStatus(),
      network: createNetworkManagers({
        config,
        environment,
        v4,
        v6,
        devices,
        log: silentLogger,
      }),
      log: silentLogger,
    }).managers;
    this.#reconcilers = [
      sysctls,
      devices,
      ...[v4, v6].flatMap(({ fdb, linkAddresses, routes }) => [fdb, linkAddresses, routes]),
      bandwidth,
    ];
    const listeners = [devices, bandwidth, ...[v4, v6].flatMap((item) => [item.fdb, item.linkAddresses, item.routes])];
    const monitor = new InterfaceMonitor({
      source: new MonitorProcessSource({
        startStream: createNamespaceStreams(this.#namespace.name),
        clock: systemClock,
        logger: silentLogger,
      }),
      lister: kernel,
      clock: systemClock,
      logger: silentLogger,
      interfaceExclude: config.interfaceExclude,
      workloadPrefixes: config.interfacePrefixes,
      refreshIntervalMs: 0,
    });
    this.#monitor = monitor;
    await new Promise<void>((resolve) => {
      monitor.start(
        (event) => {
          this.#heard += 1;
          for (const listener of listeners) listener.onInterfaceState(event);
          for (const manager of this.#managers) manager.onInterfaceState?.(event);
        },
        (event) => {
          this.#heard += 1;
          for (const manager of this.#managers) manager.onInterfaceAddresses?.(event);
        },
        resolve,
      );
    });
    return this;
  }

  feed(frames: readonly Buffer[]): void {
    for (const message of frames.map(decode)) for (const manager of this.#managers) manager.onMessage(message);
  }

  /** Applies until an apply wrote nothing and the monitor has had the time to tell of what was written. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; ) {
      const before = this.#heard;
      const written = await this.#apply();
      await new Promise((resolve) => setTimeout(resolve, 150));
      quiet = written === 0 && this.#heard === before ? quiet + 1 : 0;
    }
  }

  stop(): void {
    this.#monitor?.stop();
  }

  async #apply(): Promise<number> {
    for (const manager of this.#managers) manager.resolveUpdateBatch?.();
    for (const manager of this.#managers) manager.completeDeferredWork();
    let operations = 0;
    for (const reconciler of this.#reconcilers) operations += (await reconciler.apply()).operations;
    return operations;
  }
}
