import { describe, expect, test } from 'vitest';
import { loadRecording } from '../fixtures/recording.js';
import { createNamespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('nft-listing');

describe('NfTablesReader', () => {
  test.each(['rule-zoo', 'ip-sets', 'vxlan', 'host-endpoint-named', 'dual-stack'])(
    "lists the tables that Felix made of %s as nft's JSON has them",
    async (name) => {
      const namespace = await createNamespace('nftlist');
      try {
        const steps = Object.values(loadRecording(name).expected.nftables ?? {});
        // The dumps have one element a line without commas, which nft needs back.
        const ruleset = (steps.at(-1)?.['nft.txt'] ?? '').replace(/^(\t\t\t.*)$/gm, '$1,');
        await namespace.run(['nft', '-f', '-'], { input: ruleset });
        const { byTool, byNetlink } = JSON.parse(await namespace.run(PROGRAM)) as Record<string, unknown>;
        expect(byNetlink).toEqual(byTool);
        expect(JSON.stringify(byTool)).toContain('filter-cali-from-wl-dispatch');
      } finally {
        await namespace.remove();
      }
    },
  );
});
