// Feeds a mock control plane from files: reads a file or a folder of YAML, watches it, and says what it thinks of it.
import { readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { MockControlPlane } from '../mock/control-plane.js';
import { parseDocuments } from '../mock/documents.js';
import { type ApplyOutcome, problemText, refText, type ResourceRef } from '../mock/outcome.js';

/** Editors write a file in several steps: changes are taken together after this pause. */
const SETTLE_MS = 100;

/** Keeps a mock equal to the YAML files below a path. */
export class MockSource {
  readonly #mock: MockControlPlane;
  readonly #path: string;
  readonly #log: Logger;
  /** File → what it put in force. */
  readonly #byFile = new Map<string, { readonly text: string; readonly refs: Map<string, ResourceRef> }>();
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(mock: MockControlPlane, path: string, log: Logger) {
    this.#mock = mock;
    this.#path = path;
    this.#log = log;
  }

  /** Reads all files; returns how many problems there are. A file with problems keeps its last valid resources. */
  load(): number {
    let problems = 0;
    const files = this.#files();
    const wanted = new Set<string>();
    for (const file of files) {
      const text = readFileSync(file, 'utf8');
      const known = this.#byFile.get(file);
      if (known?.text === text) {
        for (const key of known.refs.keys()) wanted.add(key);
        continue;
      }
      const parsed = parseDocuments(text, file);
      const outcome = this.#mock.apply(parsed.documents);
      problems += this.#report({ ...outcome, problems: [...parsed.problems, ...outcome.problems] });
      const refs = new Map([...outcome.applied, ...outcome.kept].map((ref) => [refText(ref), ref]));
      // What stands behind a syntax error is not known, so nothing of such a file is withdrawn.
      if (parsed.problems.length > 0) for (const [key, ref] of known?.refs ?? []) refs.set(key, ref);
      this.#withdraw(known?.refs, refs);
      this.#byFile.set(file, { text, refs });
      for (const key of refs.keys()) wanted.add(key);
    }
    for (const [file, { refs }] of this.#byFile) {
      if (files.includes(file)) continue;
      this.#byFile.delete(file);
      for (const [key, ref] of refs) if (!wanted.has(key)) this.#mock.delete(ref);
    }
    return problems;
  }

  /** Calls back after every change of a file, once it was read. */
  watch(onChange: () => void): void {
    this.#watcher = watch(this.#path, { recursive: false }, () => {
      this.#timer ??= setTimeout(() => {
        this.#timer = null;
        try {
          this.load();
          onChange();
        } catch (error) {
          this.#log.error('Resources cannot be read; those in force stay', {
            path: this.#path,
            error: errorMessage(error),
          });
        }
      }, SETTLE_MS);
    });
  }

  stop(): void {
    this.#watcher?.close();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #withdraw(before: ReadonlyMap<string, ResourceRef> | undefined, now: ReadonlyMap<string, ResourceRef>): void {
    for (const [key, ref] of before ?? []) if (!now.has(key)) this.#mock.delete(ref);
  }

  #files(): string[] {
    if (statSync(this.#path).isFile()) return [this.#path];
    return readdirSync(this.#path)
      .filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith('.'))
      .sort()
      .map((name) => join(this.#path, name));
  }

  #report(outcome: ApplyOutcome): number {
    for (const problem of outcome.problems) this.#log.error(problemText(problem));
    for (const warning of outcome.warnings) this.#log.warn(problemText(warning));
    return outcome.problems.length;
  }
}
