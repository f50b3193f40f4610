// Merges Felix's parameters of all sources and makes the ConfigUpdate (calc-graph.md section 18).
import { create } from '@bufbuild/protobuf';
import { type ConfigUpdate, ConfigUpdateSchema } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { FelixConfigModel, Labels, NodeModel } from '../graph/entries.js';
import { parseSelector } from '../selector/selector.js';
import { canonicalParameter, isLocalParameter } from './parameters.js';

type Source = 'global' | 'selected' | 'host' | 'file' | 'environment';

const SOURCES: readonly { readonly source: Source; readonly number: number; readonly text: string }[] = [
  { source: 'global', number: 1, text: 'datastore (global)' },
  { source: 'selected', number: 2, text: 'datastore (per-node-selector)' },
  { source: 'host', number: 3, text: 'datastore (per-host)' },
  { source: 'file', number: 4, text: 'config file' },
  { source: 'environment', number: 5, text: 'environment variable' },
];
const FROM_DATASTORE: ReadonlySet<Source> = new Set(['global', 'selected', 'host']);

function nodeParameters(node: NodeModel): [string, string][] {
  const pairs: [string, string][] = [
    ['IpInIpTunnelAddr', node.bgp?.ipipTunnelAddress ?? ''],
    ['IPv4VXLANTunnelAddr', node.vxlanAddress],
    ['VXLANTunnelMACAddr', node.vxlanMac],
    ['IPv6VXLANTunnelAddr', node.vxlanAddressV6],
    ['VXLANTunnelMACAddrV6', node.vxlanMacV6],
  ];
  return pairs.filter(([, value]) => value !== '');
}

/** Feeds on configurations and on this node's resource. */
export class ConfigResolver {
  readonly #hostname: string;
  readonly #environment: Labels;
  readonly #configs = new Map<string, FelixConfigModel>();
  #node: NodeModel | undefined;

  /** `environment` is the source of that name: parameter names in any case. */
  constructor(hostname: string, environment: Readonly<Record<string, string>>) {
    this.#hostname = hostname;
    const given = Object.entries(environment).map(([key, value]): [string, string] => [key.toLowerCase(), value]);
    this.#environment = new Map([['felixhostname', hostname], ...given]);
  }

  /** Sets a configuration, or removes it. */
  setConfig(key: string, config: FelixConfigModel | undefined): void {
    if (config === undefined) this.#configs.delete(key);
    else this.#configs.set(key, config);
  }

  /** Sets the resource of a node, or removes it; other nodes than this one are ignored. */
  setNode(name: string, node: NodeModel | undefined): void {
    if (name === this.#hostname) this.#node = node;
  }

  /** The message for the parameters as they are now. */
  update(): ConfigUpdate {
    const sources = this.#sources();
    const raw = SOURCES.map(({ source, number, text }) => [
      String(number),
      { source: text, config: Object.fromEntries(sources[source]) },
    ]);
    return create(ConfigUpdateSchema, {
      config: Object.fromEntries(this.#merge(sources)),
      sourceToRawConfig: Object.fromEntries(raw) as Record<number, { source: string; config: Record<string, string> }>,
    });
  }

  /** The winning raw text of every parameter that is set, by canonical name, sorted. */
  parameters(): Labels {
    return this.#merge(this.#sources());
  }

  #sources(): Record<Source, Labels> {
    const global: [string, string][] = [];
    const host: [string, string][] = [];
    for (const config of this.#configs.values()) {
      if (config.name === `node.${this.#hostname}`) host.push(...config.parameters);
      else if (config.nodeSelector === undefined && !config.name.startsWith('node.')) global.push(...config.parameters);
    }
    if (this.#node !== undefined) host.push(...nodeParameters(this.#node));
    return {
      global: new Map(global),
      selected: this.#selected(),
      host: new Map(host),
      file: new Map(),
      environment: this.#environment,
    };
  }

  /** Of the configurations whose selector matches this node, the oldest; ties by name. */
  #selected(): Labels {
    const labels = this.#node?.labels ?? new Map<string, string>();
    const matching = [...this.#configs.values()].filter(
      ({ nodeSelector }) =>
        nodeSelector !== undefined && parseSelector(nodeSelector).matches((label) => labels.get(label)),
    );
    const age = (config: FelixConfigModel): string => `${config.creationTimestamp} ${config.name}`;
    const [oldest] = matching.sort((a, b) => (age(a) < age(b) ? -1 : 1));
    return oldest?.parameters ?? new Map();
  }

  #merge(sources: Record<Source, Labels>): Labels {
    const merged = new Map<string, string>();
    for (const { source } of SOURCES) {
      for (const [name, value] of sources[source]) {
        const canonical = canonicalParameter(name);
        if (value === '' || (canonical !== undefined && FROM_DATASTORE.has(source) && isLocalParameter(canonical)))
          continue;
        merged.set(canonical ?? name, value);
      }
    }
    return new Map([...merged].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
