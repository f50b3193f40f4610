// libnftables with one context kept open: nft's own parser and binary format without its process. Commits run in a
// thread of the pool, so that the event loop stays free during bulk loads. (libnftables(3))
import { createRequire } from 'node:module';
import { errorMessage, ToolError } from '../../base/errors.js';

interface NativeFunction {
  (...args: unknown[]): unknown;
  async(...args: unknown[]): void;
}

interface Koffi {
  load(path: string): { func(definition: string): NativeFunction };
}

const OUTPUT_JSON = 1 << 4;
const OUTPUT_TERSE = 1 << 11;
const STDERR_HEAD = 2000;

/** A context of libnftables: one command at a time, in the order of the calls. */
export class LibNftables {
  readonly #context: unknown;
  readonly #run: NativeFunction;
  readonly #output: NativeFunction;
  readonly #error: NativeFunction;
  readonly #setFlags: NativeFunction;
  readonly #free: NativeFunction;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(library: ReturnType<Koffi['load']>) {
    this.#context = library.func('void *nft_ctx_new(uint32_t flags)')(0);
    this.#run = library.func('int nft_run_cmd_from_buffer(void *context, const char *commands)');
    this.#output = library.func('const char *nft_ctx_get_output_buffer(void *context)');
    this.#error = library.func('const char *nft_ctx_get_error_buffer(void *context)');
    this.#setFlags = library.func('void nft_ctx_output_set_flags(void *context, unsigned int flags)');
    this.#free = library.func('void nft_ctx_free(void *context)');
    library.func('int nft_ctx_buffer_output(void *context)')(this.#context);
    library.func('int nft_ctx_buffer_error(void *context)')(this.#context);
  }

  /** Opens the library, or says why it cannot be used. Never throws. */
  static open():
    | { readonly library: LibNftables; readonly reason: null }
    | { readonly library: null; readonly reason: string } {
    try {
      const require = createRequire(typeof __filename === 'string' ? __filename : import.meta.url);
      const koffi = require('koffi') as Koffi;
      return { library: new LibNftables(koffi.load('libnftables.so.1')), reason: null };
    } catch (error) {
      return { library: null, reason: `libnftables cannot be used: ${errorMessage(error)}` };
    }
  }

  /**
   * Runs commands as one transaction; resolves with what nft prints.
   * @throws ToolError with nft's text; the ruleset is then as before.
   */
  run(commands: string, options: { readonly json?: boolean; readonly terse?: boolean } = {}): Promise<string> {
    const result = this.#queue.then(() => this.#runNow(commands, options));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Frees the context after what is queued. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue;
    this.#free(this.#context);
  }

  #runNow(commands: string, options: { readonly json?: boolean; readonly terse?: boolean }): Promise<string> {
    const started = process.hrtime.bigint();
    this.#setFlags(
      this.#context,
      (options.json === true ? OUTPUT_JSON : 0) | (options.terse === true ? OUTPUT_TERSE : 0),
    );
    return new Promise((resolve, reject) => {
      this.#run.async(this.#context, commands, (failure: unknown, status: number) => {
        if (failure !== null && failure !== undefined) {
          reject(new Error(`libnftables call failed: ${errorMessage(failure)}`));
          return;
        }
        const output = String(this.#output(this.#context) ?? '');
        const stderr = String(this.#error(this.#context) ?? '');
        if (status === 0) {
          resolve(output);
          return;
        }
        const line = /^<cmdline>:(\d+):|^internal:0:|:(\d+):\d+-\d+:/.exec(stderr);
        const inputLine = line?.[1] ?? line?.[2];
        reject(
          new ToolError(`libnftables refused the transaction: ${stderr.split('\n', 1)[0] ?? ''}`, {
            argv: ['libnftables'],
            exitCode: 1,
            signal: null,
            stderrHead: stderr.slice(0, STDERR_HEAD),
            ...(inputLine === undefined ? {} : { inputLine: Number(inputLine) }),
            durationMs: Number(process.hrtime.bigint() - started) / 1e6,
          }),
        );
      });
    });
  }
}
