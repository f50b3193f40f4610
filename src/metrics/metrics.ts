// The facade through which rooms count: typed by the table of series, exposed as Prometheus text 0.0.4. Made by the
// composition root; rooms are handed functions or this object.
import { Counter, Gauge, Registry, Summary } from 'prom-client';
import {
  type CounterName,
  type GaugeName,
  type LabelsOf,
  SERIES,
  type SeriesDefinition,
  type SeriesName,
  type SummaryName,
} from './series.js';

/** Content type of the text. */
export const EXPOSITION_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const QUANTILES = [0.5, 0.9, 0.99];
/** Window of the quantiles, as of Go's client: ten minutes in five parts. */
const WINDOW = { maxAgeSeconds: 600, ageBuckets: 5 };

/** One series of a family with its value. */
export interface Sample<Name extends SeriesName> {
  readonly labels: LabelsOf<Name>;
  readonly value: number;
}

/** What was counted or observed and is not in its family yet. */
interface Waiting {
  readonly family: Counter | Summary;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly value: number;
}

/**
 * From so many on, waiting events are handed on when somebody has time. An update counts some twenty of them, and
 * prom-client's part of that, a digest for each fifth of the window above all, took a sixth of an update's processor
 * time; many in a row take a tenth of it.
 */
const MANY_WAITING = 512;
/** So many never wait. */
const MAX_WAITING = 16_384;

/** Labels as the last argument: needed for families that have some, absent for the others. */
type LabelArguments<Name extends SeriesName> = [keyof LabelsOf<Name>] extends [never] ? [] : [labels: LabelsOf<Name>];

/** All series of the driver. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #summaries = new Map<string, Summary>();
  readonly #beforeScrape: (() => void)[] = [];
  /** Families that somebody feeds: a zero that nobody counts would look like calm. */
  readonly #fed = new Set<string>();
  #waiting: Waiting[] = [];

  constructor() {
    for (const [name, definition] of Object.entries<SeriesDefinition>(SERIES)) this.#register(name, definition);
  }

  /** Adds to a counter; `by` is at least 0, and 0 says that it is counted from now on. */
  add<Name extends CounterName>(name: Name, by: number, ...labels: LabelArguments<Name>): void {
    this.#fed.add(name);
    this.#wait(this.#counters.get(name), labels[0], by);
  }

  /** Sets a gauge. */
  set<Name extends GaugeName>(name: Name, value: number, ...labels: LabelArguments<Name>): void {
    this.#fed.add(name);
    this.#gauges.get(name)?.set({ ...labels[0] }, value);
  }

  /** Records one observation. */
  observe<Name extends SummaryName>(name: Name, value: number, ...labels: LabelArguments<Name>): void {
    this.#fed.add(name);
    this.#wait(this.#summaries.get(name), labels[0], value);
  }

  /** Says that these are observed from now on, so that a zero means none. */
  announce(...names: readonly SummaryName[]): void {
    for (const name of names) this.#fed.add(name);
  }

  /** Replaces all series of a family by totals that are counted elsewhere; series that are not named go. */
  replace<Name extends CounterName | GaugeName>(name: Name, samples: readonly Sample<Name>[]): void {
    this.#fed.add(name);
    const gauge = this.#gauges.get(name);
    const counter = this.#counters.get(name);
    if (counter !== undefined) this.#settle();
    gauge?.reset();
    counter?.reset();
    for (const { labels, value } of samples) {
      gauge?.set({ ...labels }, value);
      counter?.inc({ ...labels }, value);
    }
  }

  /** Hands on what was counted, if that is much: for moments when nobody waits for what follows. */
  catchUp(): void {
    if (this.#waiting.length >= MANY_WAITING) this.#settle();
  }

  /** Calls `refresh` before each exposition, for values that are only worth reading then. */
  beforeScrape(refresh: () => void): void {
    this.#beforeScrape.push(refresh);
  }

  /** The exposition. Families without series are left out, as Go's client does, and so are those that nobody feeds. */
  async text(): Promise<string> {
    for (const refresh of this.#beforeScrape) refresh();
    this.#settle();
    const text = await this.#registry.metrics();
    return joinFamilies(
      splitFamilies(text).filter((family) => family.samples.length > 0 && this.#fed.has(family.name)),
    );
  }

  #wait(
    family: Counter | Summary | undefined,
    labels: Readonly<Record<string, string>> | undefined,
    value: number,
  ): void {
    if (family === undefined) return;
    this.#waiting.push({ family, labels, value });
    if (this.#waiting.length >= MAX_WAITING) this.#settle();
  }

  /** Hands what waits to the families. */
  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { family, labels, value } of waiting) {
      if (family instanceof Counter) family.inc({ ...labels }, value);
      else family.observe({ ...labels }, value);
    }
  }

  #register(name: string, { type, help, labels }: SeriesDefinition): void {
    const common = { name, help, labelNames: [...labels], registers: [this.#registry] };
    switch (type) {
      case 'counter':
        this.#counters.set(name, new Counter(common));
        return;
      case 'gauge':
        this.#gauges.set(name, new Gauge(common));
        return;
      case 'summary':
        this.#summaries.set(name, new Summary({ ...common, percentiles: QUANTILES, ...WINDOW }));
        return;
    }
  }
}

/** A family in exposition text: its comment lines and its sample lines. */
interface Family {
  readonly name: string;
  readonly comments: string[];
  readonly samples: string[];
}

/** Endings of sample names that are not part of the family's name, by family type. */
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  summary: ['_sum', '_count'],
  histogram: ['_sum', '_count', '_bucket'],
};

function splitFamilies(text: string): Family[] {
  const families: Family[] = [];
  const types = new Map<string, string>();
  let current: Family | undefined;
  const familyFor = (name: string): Family => {
    if (current?.name !== name) {
      current = { name, comments: [], samples: [] };
      families.push(current);
    }
    return current;
  };
  for (const line of text.split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+)(?: (.*))?$/.exec(line);
    if (comment !== null) {
      const [, keyword, name = '', rest = ''] = comment;
      if (keyword === 'TYPE') types.set(name, rest.trim());
      familyFor(name).comments.push(line);
      continue;
    }
    const sample = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
    if (sample === undefined) continue;
    const open = current?.name;
    const isOfOpen =
      open !== undefined &&
      (sample === open || (SUFFIXES[types.get(open) ?? ''] ?? []).some((suffix) => sample === `${open}${suffix}`));
    familyFor(isOfOpen ? open : sample).samples.push(line);
  }
  return families;
}

function joinFamilies(families: readonly Family[]): string {
  return families.map((family) => `${[...family.comments, ...family.samples].join('\n')}\n`).join('');
}

/**
 * One exposition of two: Felix's, less every family that ours has, then ours. With an external driver Felix exposes
 * the dataplane's families too, standing at zero; a dashboard must not see both. An empty text of Felix (it could not
 * be asked) gives ours.
 */
export function mergeExpositions(felix: string, ours: string): string {
  const own = new Set(splitFamilies(ours).map((family) => family.name));
  const kept = splitFamilies(felix).filter((family) => !own.has(family.name));
  return `${joinFamilies(kept)}${ours}`;
}
