// Runs what lives on raw sockets in its namespace: `proxy ADDRESS…` answers for neighbours, `migration INTERFACE` follows
// one. Prints a line for each thing that happened, until it is killed.
import { create } from '@bufbuild/protobuf';
import { silentLogger } from '../../../src/base/logger.js';
import { createFrameSocketOpener } from '../../../src/interfaces/packet-frames.js';
import { ProxyNeighbourReconciler } from '../../../src/interfaces/proxy-neighbours.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { createAnnouncementCapture } from '../../../src/managers/network/announcement-capture.js';
import { LiveMigrationMonitor } from '../../../src/managers/network/live-migration-monitor.js';
import {
  LiveMigrationRole,
  WorkloadEndpointIDSchema,
  WorkloadEndpointSchema,
  WorkloadEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { CommandRouteKernel } from '../../../src/routes/command-kernel.js';

const [mode = '', ...rest] = process.argv.slice(2);
const { library, reason } = loadNativeLibrary();
if (library === null) throw new Error(reason);
const openSocket = createFrameSocketOpener(library);

async function proxy(addresses: readonly string[]): Promise<void> {
  const kernel = new CommandRouteKernel({ runner: directRunner, logger: silentLogger });
  for (const family of [4, 6] as const) {
    const apply = async (): Promise<void> => {
      const { rescheduleAfterMs } = await neighbours.apply();
      if (rescheduleAfterMs !== undefined) systemClock.setTimer(20, () => void apply());
      else console.log(`applied ${family}`);
    };
    const neighbours: ProxyNeighbourReconciler = new ProxyNeighbourReconciler({
      family,
      kernel,
      openSocket,
      workloadPrefixes: ['cali'],
      refreshIntervalMs: 0,
      clock: systemClock,
      wake: () => void apply(),
      logger: silentLogger,
    });
    neighbours.setAddresses(new Set(addresses.filter((address) => address.includes(':') === (family === 6))));
    await apply();
  }
}

function migration(interfaceName: string): void {
  const monitor = new LiveMigrationMonitor({
    clock: systemClock,
    convergenceTimeMs: 60_000,
    startCapture: createAnnouncementCapture(openSocket),
    wake: () => monitor.resolveUpdateBatch(),
    log: silentLogger,
  });
  monitor.setListeners([{ setLiveMigrationState: (_id, state) => console.log(state) }]);
  monitor.onMessage({
    case: 'workloadEndpointUpdate',
    value: create(WorkloadEndpointUpdateSchema, {
      id: create(WorkloadEndpointIDSchema, { orchestratorId: 'k8s', workloadId: 'ns/vm', endpointId: 'eth0' }),
      endpoint: create(WorkloadEndpointSchema, { name: interfaceName, liveMigrationRole: LiveMigrationRole.TARGET }),
    }),
  });
  monitor.resolveUpdateBatch();
}

if (mode === 'proxy') await proxy(rest);
else migration(rest[0] ?? '');
