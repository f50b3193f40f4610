// Raw texts of all sources → one value per parameter, by Felix's rules of precedence, `none`, locality and fall-back
// (felix/config/config_params.go, resolve; dataplane.md 0.2).
import { ConfigError } from '../../base/errors.js';
import type { ConfigUpdate } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { Parameter } from './parameter.js';
import { isFelixOnly, type ParameterName, PARAMETERS, type ParameterValues, UNSUPPORTED } from './parameters.js';

/** A value that was not used as written. */
export interface ConfigWarning {
  readonly key: string;
  readonly rawValue: string;
  /** Felix's name of the source, e.g. `environment variable`. */
  readonly source: string;
  readonly problem: string;
}

/** What the sources come to. */
export interface Resolution {
  readonly values: ParameterValues;
  /** Where each parameter that is not at its default comes from. */
  readonly sources: ReadonlyMap<ParameterName, string>;
  readonly warnings: readonly ConfigWarning[];
  /** `BPFEnabled=true: advice` for settings that this dataplane can't honour. */
  readonly unsupported: readonly string[];
  /** Names that neither Felix nor we know, as written. Harmless: other products and versions have more. */
  readonly unknown: readonly string[];
}

interface Source {
  readonly name: string;
  readonly isLocal: boolean;
  readonly texts: Readonly<Record<string, string>>;
}

/** Sources by number, lowest precedence first (0 is Felix's defaults, which are never sent). */
const SOURCE_NAMES = [
  'default',
  'datastore (global)',
  'datastore (per-node-selector)',
  'datastore (per-host)',
  'config file',
  'environment variable',
  'internal override',
] as const;
const FIRST_LOCAL_SOURCE = 4;

/** Sources with the highest precedence first; the merged map is only used when no source is told apart. */
function sourcesOf(update: ConfigUpdate): Source[] {
  const sources: Source[] = [];
  for (let number = SOURCE_NAMES.length - 1; number > 0; number--) {
    const raw = update.sourceToRawConfig[number];
    if (raw === undefined) continue;
    sources.push({
      name: SOURCE_NAMES[number] ?? raw.source,
      isLocal: number >= FIRST_LOCAL_SOURCE,
      texts: raw.config,
    });
  }
  if (Object.keys(update.sourceToRawConfig).length > 0) return sources;
  return [{ name: 'merged configuration', isLocal: true, texts: update.config }];
}

const namesByLowerCase = new Map(
  Object.keys(PARAMETERS).map((name) => [name.toLowerCase(), name as ParameterName] as const),
);
const unsupportedByLowerCase = new Map(
  [...UNSUPPORTED].map(([name, entry]) => [name.toLowerCase(), { name, ...entry }]),
);

class Resolver {
  readonly values = new Map<ParameterName, unknown>();
  readonly sources = new Map<ParameterName, string>();
  readonly warnings: ConfigWarning[] = [];
  readonly unsupported = new Map<string, string>();
  readonly unknown = new Set<string>();

  /** Takes the texts of one source; sources come with the highest precedence first. */
  takeSource(source: Source): void {
    // Felix takes keys in random order; sorted, the same texts always give the same result.
    for (const key of Object.keys(source.texts).sort()) {
      const rawValue = source.texts[key] ?? '';
      if (rawValue !== '') this.#take(key, rawValue, source);
    }
  }

  #take(key: string, rawValue: string, source: Source): void {
    const name = namesByLowerCase.get(key.toLowerCase());
    if (name === undefined) {
      this.#takeForeign(key, rawValue);
      return;
    }
    const known: Parameter<unknown> = PARAMETERS[name];
    if (known.local && !source.isLocal) {
      this.#warn(name, rawValue, source, 'ignored: it can only be set on the host itself');
      return;
    }
    const value = this.#read(name, known, rawValue, source);
    if (this.values.has(name)) return;
    this.values.set(name, value);
    this.sources.set(name, source.name);
  }

  #read(name: ParameterName, known: Parameter<unknown>, rawValue: string, source: Source): unknown {
    if (rawValue.toLowerCase() === 'none') {
      if (known.nonZero) throw fatal(name, rawValue, source, 'it can not be switched off with "none"');
      return known.zeroValue;
    }
    const parsed = known.parse(rawValue);
    if ('value' in parsed) return parsed.value;
    if (known.dieOnFail) throw fatal(name, rawValue, source, parsed.problem);
    this.#warn(name, rawValue, source, `${parsed.problem}; the default is used`);
    return known.defaultValue;
  }

  #takeForeign(key: string, rawValue: string): void {
    const unsupported = unsupportedByLowerCase.get(key.toLowerCase());
    if (unsupported !== undefined) {
      const { name, when, advice } = unsupported;
      if (this.unsupported.has(name)) return;
      this.unsupported.set(name, when(rawValue.toLowerCase()) ? `${name}=${rawValue}: ${advice}` : '');
    } else if (!isFelixOnly(key)) {
      this.unknown.add(key);
    }
  }

  #warn(key: string, rawValue: string, source: Source, problem: string): void {
    this.warnings.push({ key, rawValue, source: source.name, problem });
  }
}

function fatal(key: string, rawValue: string, source: Source, problem: string): ConfigError {
  const message = `Parameter ${key} from ${source.name} has the value ${JSON.stringify(rawValue)}: ${problem}. Correct or unset it`;
  return new ConfigError(message, key, rawValue, source.name);
}

/**
 * Resolves a ConfigUpdate. Throws ConfigError for a value that Felix would die of, whatever its source. A bad value of
 * another parameter falls back to its default (not to a lower source) with a warning, as in Felix.
 */
export function resolveParameters(update: ConfigUpdate): Resolution {
  const resolver = new Resolver();
  for (const source of sourcesOf(update)) resolver.takeSource(source);
  const entries = Object.entries(PARAMETERS).map(([name, known]) => {
    const value = resolver.values.get(name as ParameterName);
    return [name, value === undefined ? known.defaultValue : value] as const;
  });
  return {
    // Each value came out of the parser of its own parameter, which is what the mapped type says.
    values: Object.fromEntries(entries) as unknown as ParameterValues,
    sources: resolver.sources,
    warnings: resolver.warnings,
    unsupported: [...resolver.unsupported.values()].filter((text) => text !== ''),
    unknown: [...resolver.unknown],
  };
}
