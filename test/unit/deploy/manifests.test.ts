// The manifests in deploy/: that they parse and render, ask for no more than they need, and agree with one another.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asList, asMap, containers, podSpec, readYaml, render, type Yaml, type YamlMap } from './kustomize.js';

const root = join(import.meta.dirname, '../../..');
const deploy = join(root, 'deploy');
const packageVersion = String((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as YamlMap)['version']);

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesBelow(path, ending);
    return name.endsWith(ending) ? [path] : [];
  });
}

/** What the overlay patches, cut down from Calico's manifests/calico.yaml of August 2026. */
const CALICO_NODE: YamlMap = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'calico-node', namespace: 'kube-system' },
  spec: {
    template: {
      spec: {
        serviceAccountName: 'calico-node',
        initContainers: [{ name: 'install-cni', image: 'quay.io/calico/calico:master' }],
        containers: [
          {
            name: 'calico-node',
            image: 'quay.io/calico/node:master',
            env: [{ name: 'FELIX_HEALTHENABLED', value: 'true' }],
            readinessProbe: { exec: { command: ['calico', 'component', 'node', 'health', '--felix-ready'] } },
            volumeMounts: [{ name: 'var-lib-calico', mountPath: '/var/lib/calico' }],
          },
        ],
        volumes: [{ name: 'var-lib-calico', hostPath: { path: '/var/lib/calico' } }],
      },
    },
  },
};

const renderings: Readonly<Record<string, readonly YamlMap[]>> = {
  base: render(join(deploy, 'base')),
  canary: render(join(deploy, 'overlays/canary')),
  'own-pod': render(join(deploy, 'overlays/own-pod')),
  'metrics-merge': render(join(deploy, 'overlays/metrics-merge')),
  'manifest-init': render(join(deploy, 'overlays/manifest-init'), [CALICO_NODE]),
};

function daemonSet(rendering: string, name: string): YamlMap {
  const found = renderings[rendering]?.find((resource) => asMap(resource['metadata'], 'metadata')['name'] === name);
  if (found === undefined) throw new Error(`${rendering} has no ${name}`);
  return found;
}

function container(rendering: string, set: string, name: string, init = false): YamlMap {
  const found = containers(podSpec(daemonSet(rendering, set)), init ? 'initContainers' : 'containers').get(name);
  if (found === undefined) throw new Error(`${rendering}: ${set} has no container ${name}`);
  return found;
}

function mounts(of: YamlMap): Map<string, YamlMap> {
  const list = asList(of['volumeMounts'], 'volumeMounts').map((mount) => asMap(mount, 'volumeMounts'));
  return new Map(list.map((mount) => [String(mount['mountPath']), mount]));
}

function hostPaths(rendering: string, set: string): Map<string, string> {
  const volumes = asList(podSpec(daemonSet(rendering, set))['volumes'], 'volumes').map((each) => asMap(each, 'volume'));
  return new Map(volumes.map((each) => [String(each['name']), String(asMap(each['hostPath'], 'hostPath')['path'])]));
}

function words(value: Yaml | undefined): string[] {
  return asList(value, 'words').map(String);
}

const ownSets = Object.entries(renderings).flatMap(([rendering, resources]) =>
  resources
    .map((resource) => String(asMap(resource['metadata'], 'metadata')['name']))
    .filter((name) => name.startsWith('felix-dataplane'))
    .map((name) => [rendering, name] as const),
);

describe('every YAML file below deploy/', () => {
  it.each(filesBelow(deploy, '.yaml').map((path) => path.slice(deploy.length + 1)))('%s parses', (path) => {
    expect(readYaml(join(deploy, path)).length).toBeGreaterThan(0);
  });

  it('has no account, role, binding or secret', () => {
    for (const path of filesBelow(deploy, '.yaml')) {
      for (const document of readYaml(path)) {
        expect(String(document['kind'])).not.toMatch(/Role|ServiceAccount|Secret/);
      }
    }
  });
});

describe.each(ownSets)('overlay %s, DaemonSet %s', (rendering, set) => {
  const pod = podSpec(daemonSet(rendering, set));
  const all = [...containers(pod).values(), ...containers(pod, 'initContainers').values()];

  it('has no token of the API server', () => {
    expect(pod['automountServiceAccountToken']).toBe(false);
    expect(pod['serviceAccountName']).toBeUndefined();
  });

  it('runs on every Linux node, before pods have a network', () => {
    expect(pod['hostNetwork']).toBe(true);
    expect(pod['tolerations']).toEqual([{ operator: 'Exists' }]);
    expect(asMap(pod['nodeSelector'], 'nodeSelector')['kubernetes.io/os']).toBe('linux');
  });

  it('selects its own pods', () => {
    const spec = asMap(daemonSet(rendering, set)['spec'], 'spec');
    const labels = asMap(asMap(asMap(spec['template'], 'template')['metadata'], 'metadata')['labels'], 'labels');
    expect(asMap(spec['selector'], 'selector')['matchLabels']).toEqual(labels);
  });

  it('is in a namespace, and takes the image of this version', () => {
    expect(asMap(daemonSet(rendering, set)['metadata'], 'metadata')['namespace']).toBe('kube-system');
    for (const each of all) expect(each['image']).toBe(`registry.example.com/felix-dataplane:${packageVersion}`);
  });

  it('has a readiness probe, resource requests, and a security context', () => {
    for (const each of containers(pod).values()) expect(each['readinessProbe']).toBeDefined();
    for (const each of all) {
      expect(asMap(each['resources'], 'resources')['requests']).toBeDefined();
      expect(each['securityContext']).toBeDefined();
    }
  });

  it('mounts only volumes that it declares', () => {
    const declared = asList(pod['volumes'], 'volumes').map((volume) => asMap(volume, 'volume')['name']);
    for (const each of all) for (const mount of mounts(each).values()) expect(declared).toContain(mount['name']);
  });
});

describe('the installer', () => {
  const link = '/var/lib/calico/felix-plugins/current/';

  it('writes where every FelixConfiguration points', () => {
    expect(hostPaths('base', 'felix-dataplane-installer').get('felix-plugins')).toBe('/var/lib/calico/felix-plugins');
    const target = words(container('base', 'felix-dataplane-installer', 'install', true)['command'])[1] ?? '';
    expect([...mounts(container('base', 'felix-dataplane-installer', 'install', true)).keys()]).toEqual([target]);
    const drivers = [
      'base/felixconfiguration-patch.yaml',
      'overlays/canary/felixconfiguration.yaml',
      'overlays/own-pod/felixconfiguration-patch.yaml',
    ].map((path) => asMap(readYaml(join(deploy, path))[0]?.['spec'], path));
    for (const spec of drivers) {
      expect(spec['useInternalDataplaneDriver']).toBe(false);
      const driver = String(spec['dataplaneDriver']);
      expect(driver.startsWith(link)).toBe(true);
      // A launcher of that name is in the folder that is installed.
      expect(readdirSync(join(deploy, 'runtime'))).toContain(driver.slice(link.length));
    }
  });

  it('needs no privilege', () => {
    for (const [name, init] of [
      ['install', true],
      ['installed', false],
    ] as const) {
      const context = asMap(container('base', 'felix-dataplane-installer', name, init)['securityContext'], name);
      expect(context['allowPrivilegeEscalation']).toBe(false);
      expect(context['privileged']).toBeUndefined();
      expect(context['capabilities']).toEqual({ drop: ['ALL'] });
    }
  });

  it('of the canary goes to labelled nodes only, the same as its FelixConfiguration', () => {
    const selector = asMap(podSpec(daemonSet('canary', 'felix-dataplane-installer'))['nodeSelector'], 'nodeSelector');
    expect(selector['felix-dataplane']).toBe('canary');
    const [configuration] = readYaml(join(deploy, 'overlays/canary/felixconfiguration.yaml'));
    expect(asMap(configuration?.['spec'], 'spec')['nodeSelector']).toBe("felix-dataplane == 'canary'");
  });

  it('rollback unsets exactly what the patch sets', () => {
    const spec = (path: string): YamlMap => asMap(readYaml(join(deploy, path))[0]?.['spec'], path);
    const rollback = spec('base/felixconfiguration-rollback.yaml');
    expect(Object.keys(rollback)).toEqual(Object.keys(spec('base/felixconfiguration-patch.yaml')));
    expect(Object.values(rollback)).toEqual([null, null]);
  });
});

describe('a driver in a pod of its own', () => {
  const driver = container('own-pod', 'felix-dataplane', 'driver');

  it('mounts all that programming needs', () => {
    expect([...mounts(driver).keys()].sort()).toEqual([
      '/lib/modules',
      '/run/xtables.lock',
      '/var/lib/calico',
      '/var/run/calico',
    ]);
    expect(mounts(driver).get('/lib/modules')?.['readOnly']).toBe(true);
    const paths = hostPaths('own-pod', 'felix-dataplane');
    for (const [path, mount] of mounts(driver)) expect(paths.get(String(mount['name']))).toBe(path);
  });

  it('listens where the relay of the installed folder connects to', () => {
    const address = words(driver['args'])[2] ?? '';
    expect(readFileSync(join(deploy, 'runtime/felix-dataplane-relay'), 'utf8')).toContain(`:=${address}}`);
    const folder = address.slice('unix:'.length, address.lastIndexOf('/'));
    expect([...mounts(driver).keys()]).toContain(folder);
  });

  it('is asked for liveness and readiness on the loopback address', () => {
    for (const [probe, path] of [
      ['startupProbe', '/liveness'],
      ['livenessProbe', '/liveness'],
      ['readinessProbe', '/readiness'],
    ] as const) {
      expect(asMap(driver[probe], probe)['httpGet']).toEqual({ host: '127.0.0.1', port: 9199, path });
    }
  });
});

describe('manifest-init', () => {
  const node = container('manifest-init', 'calico-node', 'calico-node');

  it('keeps what calico-node has, and adds', () => {
    expect([...containers(podSpec(daemonSet('manifest-init', 'calico-node')), 'initContainers').keys()]).toEqual([
      'install-cni',
      'install-felix-dataplane',
    ]);
    const environment = new Map(
      asList(node['env'], 'env').map((entry) => {
        const { name, value } = asMap(entry, 'env');
        return [name, value];
      }),
    );
    expect(Object.fromEntries(environment)).toEqual({
      FELIX_HEALTHENABLED: 'true',
      FELIX_USEINTERNALDATAPLANEDRIVER: 'false',
      FELIX_DATAPLANEDRIVER: '/var/lib/calico/felix-plugins/current/felix-dataplane',
    });
  });

  it('installs to the folder that the driver is started from, over the volume of calico-node', () => {
    const install = container('manifest-init', 'calico-node', 'install-felix-dataplane', true);
    expect(words(install['command'])[1]).toBe('/var/lib/calico/felix-plugins');
    expect([...mounts(install).keys()]).toEqual(['/var/lib/calico']);
  });

  it('asks Felix and the driver whether they are ready', () => {
    const command = words(asMap(asMap(node['readinessProbe'], 'probe')['exec'], 'exec')['command']).join(' ');
    expect(command).toContain('--felix-ready');
    expect(command).toContain('/var/lib/calico/felix-plugins/current/healthcheck /readiness');
  });
});
