// A small reader of kustomizations for tests: the few fields that deploy/ uses, and an error for any other.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';

/** Plain YAML data. */
export type Yaml = string | number | boolean | null | Yaml[] | { [key: string]: Yaml };
/** A YAML mapping. */
export type YamlMap = { [key: string]: Yaml };

const KNOWN_FIELDS = new Set(['apiVersion', 'kind', 'namespace', 'resources', 'components', 'patches', 'images']);

/** The documents of a file; throws with the file's name for anything that is not clean YAML. */
export function readYaml(path: string): YamlMap[] {
  return parseAllDocuments(readFileSync(path, 'utf8'), { strict: true, uniqueKeys: true }).map((document) => {
    const problem = document.errors[0] ?? document.warnings[0];
    if (problem !== undefined) throw new Error(`${path}: ${problem.message}`);
    return asMap(document.toJS() as Yaml, path);
  });
}

/** The mapping at a place, or an error that names the place. */
export function asMap(value: Yaml | undefined, where: string): YamlMap {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${where} is no mapping`);
  return value;
}

/** The list at a place; missing is empty. */
export function asList(value: Yaml | undefined, where: string): Yaml[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error(`${where} is no list`);
  return value;
}

function keyOf(item: Yaml): string | null {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return null;
  const key = item['name'] ?? item['mountPath'] ?? item['containerPort'];
  return key === undefined ? null : String(key);
}

/** A strategic merge: mappings by key, lists of named things by name, all else replaced. */
export function merge(base: Yaml | undefined, patch: Yaml): Yaml {
  if (Array.isArray(patch)) {
    if (!Array.isArray(base) || patch.some((item) => keyOf(item) === null)) return patch;
    const merged = [...base];
    for (const item of patch) {
      const index = merged.findIndex((candidate) => keyOf(candidate) === keyOf(item));
      if (index < 0) merged.push(item);
      else merged[index] = merge(merged[index], item);
    }
    return merged;
  }
  if (typeof patch !== 'object' || patch === null) return patch;
  if (typeof base !== 'object' || base === null || Array.isArray(base)) return patch;
  const merged = { ...base };
  for (const [key, value] of Object.entries(patch)) merged[key] = merge(merged[key], value);
  return merged;
}

function nameOf(resource: YamlMap): string {
  const metadata = asMap(resource['metadata'], 'metadata');
  return `${String(resource['kind'])}/${String(metadata['name'])}`;
}

function withImages(value: Yaml, images: readonly YamlMap[]): Yaml {
  if (Array.isArray(value)) return value.map((item) => withImages(item, images));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const image = key === 'image' ? images.find((candidate) => candidate['name'] === item) : undefined;
      if (image === undefined) return [key, withImages(item, images)];
      return [key, `${String(image['newName'])}:${String(image['newTag'])}`];
    }),
  );
}

/**
 * The resources of the kustomization in `folder`. `given` stands for what a user's own kustomization brings, for
 * components. Throws where a file is missing or a patch has no target.
 */
export function render(folder: string, given: readonly YamlMap[] = []): YamlMap[] {
  const file = join(folder, 'kustomization.yaml');
  const [kustomization = {}] = readYaml(file);
  for (const field of Object.keys(kustomization)) {
    if (!KNOWN_FIELDS.has(field)) throw new Error(`${file}: field ${field} is not understood by this check`);
  }
  let resources = [...given];
  for (const entry of asList(kustomization['resources'], file)) {
    const path = join(folder, String(entry));
    if (!existsSync(path)) throw new Error(`${file}: ${String(entry)} does not exist`);
    resources.push(...(statSync(path).isDirectory() ? render(path) : readYaml(path)));
  }
  for (const entry of asList(kustomization['patches'], file)) {
    const path = join(dirname(file), String(asMap(entry, file)['path']));
    for (const patch of readYaml(path)) {
      const index = resources.findIndex((resource) => nameOf(resource) === nameOf(patch));
      if (index < 0) throw new Error(`${path}: no ${nameOf(patch)} to patch`);
      resources[index] = asMap(merge(resources[index], patch), path);
    }
  }
  const { namespace } = kustomization;
  if (namespace !== undefined) {
    resources = resources.map((resource) => asMap(merge(resource, { metadata: { namespace } }), nameOf(resource)));
  }
  const images = asList(kustomization['images'], file).map((image) => asMap(image, file));
  return resources.map((resource) => asMap(withImages(resource, images), nameOf(resource)));
}

/** The pod template of a DaemonSet. */
export function podSpec(resource: YamlMap): YamlMap {
  const template = asMap(asMap(resource['spec'], 'spec')['template'], 'spec.template');
  return asMap(template['spec'], 'spec.template.spec');
}

/** Containers of a pod template by name. */
export function containers(pod: YamlMap, field: 'containers' | 'initContainers' = 'containers'): Map<string, YamlMap> {
  const list = asList(pod[field], field).map((container) => asMap(container, field));
  return new Map(list.map((container) => [String(container['name']), container]));
}
