// A tool that counts the scripts that it gets, and reads nothing but text: what is left to it shows what others cannot do.
import type { IptablesIo } from '../../../src/tables/iptables/io.js';

/** Restores and saves by `tool`; `restores` may be set back. */
export class CountingTool implements IptablesIo {
  restores = 0;
  readonly #tool: IptablesIo;

  constructor(tool: IptablesIo) {
    this.#tool = tool;
  }

  epoch(): null {
    return null;
  }

  isAsKnown(): Promise<boolean> {
    return Promise.resolve(false);
  }

  save(...args: Parameters<IptablesIo['save']>): Promise<string> {
    return this.#tool.save(...args);
  }

  readTags(): Promise<null> {
    return Promise.resolve(null);
  }

  restore(...args: Parameters<IptablesIo['restore']>): Promise<void> {
    this.restores += 1;
    return this.#tool.restore(...args);
  }
}
