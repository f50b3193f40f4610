// Clean-up of the other variants' leftovers, and detection of the variant in use, in namespaces with the real tools.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import type { Command, CommandRunner } from '../../src/kernel/command.js';
import { FAMILIES } from '../../src/model/family.js';
import { backendBinariesPresent, detectIptablesBackend } from '../../src/tables/iptables/backend.js';
import { createLegacyCleanup, type IptablesCleanupOptions } from '../../src/tables/iptables/cleanup-legacy.js';
import { createNftCopiesCleanup } from '../../src/tables/iptables/cleanup-nft.js';
import { detectFeatures } from '../../src/tables/iptables/features.js';
import { FakeClock } from '../fakes/clock.js';
import { filesIn, runnerIn, savedRules } from './support/iptables.js';
import { createNamespace, type Namespace } from './support/namespace.js';

const VARIANTS = (['legacy', 'nft'] as const).flatMap((backend) => FAMILIES.map((family) => ({ backend, family })));

/** Rules of ours as Felix writes them, in two tables, between the rules of others. */
function plant(tool: string): string {
  return `
    ${tool}-restore --noflush <<'EOF'
*filter
:cali-FORWARD - -
:cali-fw-cali1 - -
:felix-INPUT - -
-A cali-FORWARD -m comment --comment "cali:aaaaaaaaaaaaaaaa" -j cali-fw-cali1
-A cali-fw-cali1 -m comment --comment "cali:bbbbbbbbbbbbbbbb" -j DROP
-I FORWARD -m comment --comment "cali:cccccccccccccccc" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:dddddddddddddddd" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A INPUT -j felix-INPUT
COMMIT
*nat
:cali-POSTROUTING - -
-A cali-POSTROUTING -m comment --comment "cali:eeeeeeeeeeeeeeee" -j RETURN
-A POSTROUTING -m comment --comment "cali:ffffffffffffffff" -j cali-POSTROUTING
COMMIT
EOF`;
}

function plantForeign(tool: string): string {
  return `
    ${tool}-restore --noflush <<'EOF'
*filter
:KUBE-FORWARD - -
:DOCKER-USER - -
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -m comment --comment "not cali: ours" -j KUBE-FORWARD
-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:KUBE-POSTROUTING - -
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
COMMIT
EOF`;
}

class RecordingRunner implements CommandRunner {
  readonly commands: Command[] = [];
  readonly #runner: CommandRunner;
  missing = /^$/;
  /** What runs under the general names. */
  general: 'legacy' | 'nft' | null = null;

  constructor(namespace: Namespace) {
    this.#runner = runnerIn(namespace);
  }

  async run(command: Command): ReturnType<CommandRunner['run']> {
    this.commands.push(command);
    const [name = '', ...args] = command.argv;
    const program =
      this.general === null ? name : name.replace(/^(ip6?tables)-(save|restore)$/, `$1-${this.general}-$2`);
    const argv = this.missing.test(name) ? ['no-such-program'] : [program, ...args];
    return this.#runner.run({ ...command, argv });
  }

  programs(): string[] {
    return this.commands.splice(0).map(({ argv }) => argv[0] ?? '');
  }
}

let namespace: Namespace;
let runner: RecordingRunner;
let clock: FakeClock;
beforeEach(async () => {
  namespace = await createNamespace('iptclean');
  runner = new RecordingRunner(namespace);
  clock = new FakeClock();
});
afterEach(async () => {
  await namespace.remove();
});

function options(family: 4 | 6): IptablesCleanupOptions {
  return {
    family,
    runner,
    files: filesIn(namespace),
    restoreSupportsLock: true,
    lockProbeIntervalMs: 50,
    refreshIntervalMs: 10_000,
    clock,
    log: silentLogger,
    onOperation: () => undefined,
  };
}

const create = (backend: 'legacy' | 'nft', family: 4 | 6): ReturnType<typeof createLegacyCleanup> =>
  backend === 'legacy'
    ? createLegacyCleanup(options(family))
    : createNftCopiesCleanup({ ...options(family), backendInUse: 'nftables' });

describe.each(VARIANTS)('clean-up of iptables-$backend, IPv$family', ({ backend, family }) => {
  const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
  const both = async (): Promise<unknown> => ({
    filter: await savedRules(namespace, backend, family, 'filter'),
    nat: await savedRules(namespace, backend, family, 'nat'),
  });

  it('takes ours away and leaves others byte for byte, again when it comes back (B15-B18)', async () => {
    await namespace.shell(plantForeign(tool));
    const foreign = await both();
    await namespace.shell(plant(tool));
    const cleanup = create(backend, family);
    const first = await cleanup.apply();
    expect(first.operations).toBeGreaterThan(4);
    expect(first.rescheduleAfterMs).toBe(10_000);
    expect(await both()).toEqual(foreign);
    await namespace.shell(plant(tool));
    clock.skip(9_999);
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 0, rescheduleAfterMs: 1 });
    clock.skip(1);
    await cleanup.apply();
    expect(await both()).toEqual(foreign);
    clock.skip(10_000);
    runner.programs();
    expect((await cleanup.apply()).operations).toBe(0);
    expect(runner.programs()).not.toContain(`${tool}-restore`);
  });

  it('empties a chain that something of others still goes to, and deletes the rest (B22)', async () => {
    await namespace.shell(`${plant(tool)}\n${tool} -N OTHER\n${tool} -A OTHER -g cali-FORWARD`);
    const cleanup = create(backend, family);
    await cleanup.apply();
    const filter = await savedRules(namespace, backend, family, 'filter');
    expect(filter).toEqual({ INPUT: [], FORWARD: [], OUTPUT: [], 'cali-FORWARD': [], OTHER: ['-g cali-FORWARD'] });
    clock.skip(10_000);
    expect((await cleanup.apply()).operations).toBe(0);
  });
});

describe('createLegacyCleanup', () => {
  it('runs no program where there is no legacy table, and creates none', async () => {
    expect((await createLegacyCleanup(options(4)).apply()).operations).toBe(0);
    expect(runner.programs()).toEqual([]);
    expect((await filesIn(namespace).read('/proc/net/ip_tables_names')) ?? '').toBe('');
  });

  it.each(['iptables-legacy-restore', 'iptables-nft-save'])(
    'does nothing where %s is missing (B25)',
    async (missing) => {
      await namespace.shell(plant('iptables-legacy'));
      const before = await savedRules(namespace, 'legacy', 4, 'filter');
      runner.missing = new RegExp(`^${missing}$`);
      expect((await createLegacyCleanup(options(4)).apply()).operations).toBe(0);
      expect(await savedRules(namespace, 'legacy', 4, 'filter')).toEqual(before);
      expect(await backendBinariesPresent(runner, 'nft', 6)).toBe(true);
    },
  );
});

describe('the variant in use, when tools of the other one go', () => {
  it('keeps the rules of iptables-nft when the legacy tools are removed and the general names mean nft', async () => {
    await namespace.shell(plant('iptables-legacy'));
    const cleanup = createLegacyCleanup(options(4));
    await cleanup.apply();
    await namespace.shell(`${plant('iptables-nft')}\n${plant('iptables-legacy')}`);
    const inUse = await savedRules(namespace, 'nft', 4, 'filter');
    runner.missing = /^iptables-legacy-/;
    runner.general = 'nft';
    clock.skip(10_000);
    await cleanup.apply();
    expect(await savedRules(namespace, 'nft', 4, 'filter')).toEqual(inUse);
  });

  it('keeps the rules of iptables-legacy where there is no nft variant and the general names mean legacy', async () => {
    await namespace.shell(`${plant('iptables-legacy')}\nnft add table ip filter\nnft add chain ip filter others`);
    const inUse = await savedRules(namespace, 'legacy', 4, 'filter');
    runner.missing = /^iptables-nft/;
    runner.general = 'legacy';
    await createNftCopiesCleanup({ ...options(4), backendInUse: 'legacy' }).apply();
    expect(await savedRules(namespace, 'legacy', 4, 'filter')).toEqual(inUse);
  });
});

describe('createNftCopiesCleanup', () => {
  const nativeTable = (): Promise<string> => namespace.run(['nft', '-s', 'list', 'table', 'ip', 'filter']);
  const nativeRules = `
    nft add chain ip filter ts-forward
    nft add rule ip filter ts-forward ct mark set meta mark and 0xff
    nft insert rule ip filter FORWARD counter jump ts-forward`;

  it('sweeps a table that iptables-nft-save refuses to print, and keeps the native rules (B20)', async () => {
    await namespace.shell(`${plantForeign('iptables-nft')}\n${nativeRules}`);
    const before = await nativeTable();
    await namespace.shell(plant('iptables-nft'));
    expect(await namespace.run(['iptables-nft-save', '-t', 'filter'])).toMatch(/is incompatible/);
    const result = await createNftCopiesCleanup({ ...options(4), backendInUse: 'nftables' }).apply();
    expect(result.operations).toBeGreaterThan(4);
    expect(await nativeTable()).toBe(before);
  });

  it('sweeps by handle where only nft can read the base chain', async () => {
    await namespace.shell(`${plantForeign('iptables-nft')}\n${nativeRules}
      nft add rule ip filter FORWARD ct mark set meta mark and 0xff`);
    const before = await nativeTable();
    await namespace.shell(`
      iptables-nft -N cali-FORWARD
      iptables-nft -A cali-FORWARD -j DROP
      iptables-nft -I FORWARD -m comment --comment "cali:cccccccccccccccc" -j cali-FORWARD`);
    const cleanup = createNftCopiesCleanup({ ...options(4), backendInUse: 'nftables' });
    await cleanup.apply();
    expect(await nativeTable()).toBe(before);
    clock.skip(10_000);
    expect((await cleanup.apply()).operations).toBe(0);
  });

  it('costs one listing a pass when there is nothing of ours', async () => {
    await namespace.shell(plantForeign('iptables-nft'));
    const cleanup = createNftCopiesCleanup({ ...options(4), backendInUse: 'nftables' });
    await cleanup.apply();
    runner.programs();
    clock.skip(10_000);
    await cleanup.apply();
    expect(runner.programs()).toEqual(['nft']);
  });

  it('does nothing on iptables-legacy where its binaries are missing: the nft copies may be its own', async () => {
    await namespace.shell(plant('iptables-nft'));
    const before = await savedRules(namespace, 'nft', 4, 'filter');
    runner.missing = /^iptables-legacy-save$/;
    await createNftCopiesCleanup({ ...options(4), backendInUse: 'legacy' }).apply();
    expect(await savedRules(namespace, 'nft', 4, 'filter')).toEqual(before);
    runner.missing = /^$/;
    await createNftCopiesCleanup({ ...options(4), backendInUse: 'legacy' }).apply();
    expect((await savedRules(namespace, 'nft', 4, 'filter'))['cali-FORWARD']).toBeUndefined();
  });

  it('is not fatal where nft is missing', async () => {
    runner.missing = /^nft$/;
    expect(await createNftCopiesCleanup({ ...options(4), backendInUse: 'nftables' }).apply()).toMatchObject({
      operations: 0,
      refused: [],
    });
  });
});

describe('detectIptablesBackend', () => {
  const detect = (configured: 'legacy' | 'nft' | 'auto' = 'auto'): Promise<string> =>
    detectIptablesBackend(runner, filesIn(namespace), configured, silentLogger);

  it('takes legacy in an empty namespace, without making a legacy table', async () => {
    expect(await detect()).toBe('legacy');
    expect((await filesIn(namespace).read('/proc/net/ip_tables_names')) ?? '').toBe('');
  });

  it('goes by the hint chains of the kubelet before the number of rules', async () => {
    await namespace.shell(plantForeign('iptables-legacy'));
    expect(await detect()).toBe('legacy');
    await namespace.shell('ip6tables-nft -t mangle -N KUBE-IPTABLES-HINT');
    expect(await detect()).toBe('nft');
  });

  it('goes by legacy hint chains too', async () => {
    await namespace.shell(`${plantForeign('iptables-nft')}\niptables-legacy -t mangle -N KUBE-KUBELET-CANARY`);
    expect(await detect()).toBe('legacy');
  });

  it('goes by the number of rules, legacy if equal; a configured value wins', async () => {
    await namespace.shell(plantForeign('iptables-nft'));
    expect(await detect()).toBe('nft');
    expect(await detect('legacy')).toBe('legacy');
    await namespace.shell(plantForeign('iptables-legacy'));
    expect(await detect()).toBe('legacy');
  });
});

describe('detectFeatures', () => {
  it('finds a modern machine modern, and lets overrides win', async () => {
    const files = filesIn(namespace);
    expect(await detectFeatures(runner, files, new Map(), silentLogger)).toEqual({
      snatFullyRandom: true,
      masqueradeFullyRandom: true,
      restoreSupportsLock: true,
      nflogSize: true,
      checksumOffloadBroken: false,
    });
    const overrides = new Map([['MASQFullyRandom', false]]);
    expect((await detectFeatures(runner, files, overrides, silentLogger)).masqueradeFullyRandom).toBe(false);
  });
});
