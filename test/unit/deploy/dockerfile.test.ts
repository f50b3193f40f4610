// The form of the Dockerfile: stages, sources that exist, tools that the driver calls.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');

interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** Instructions with their continuation lines joined and comments left out. */
function instructions(text: string): Instruction[] {
  const joined = text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '');
  return joined
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [name = '', ...rest] = line.trim().split(/\s+/);
      return { name, text: rest.join(' ') };
    });
}

const all = instructions(readFileSync(join(root, 'Dockerfile'), 'utf8'));
const of = (name: string): string[] => all.filter((each) => each.name === name).map((each) => each.text);

describe('Dockerfile', () => {
  it('uses instructions of Docker only', () => {
    for (const { name } of all) {
      expect(['FROM', 'WORKDIR', 'COPY', 'RUN', 'ARG', 'HEALTHCHECK', 'ENTRYPOINT', 'CMD']).toContain(name);
    }
  });

  it('builds, collects, and ends in an image without the build', () => {
    expect(of('FROM')).toEqual(['node:20-bookworm-slim AS build', 'build AS runtime', 'debian:bookworm-slim']);
  });

  it('copies what exists and is not ignored', () => {
    const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');
    for (const text of of('COPY').filter((copy) => !copy.startsWith('--from='))) {
      const sources = text.split(' ').slice(0, -1);
      for (const source of sources) {
        expect(existsSync(join(root, source)), source).toBe(true);
        expect(ignored).not.toContain(source.split('/')[0]);
      }
    }
  });

  it('has the lock file and the cached data made by the Node that runs', () => {
    expect(of('RUN')[0]).toContain('npm ci');
    expect(of('COPY')[0]).toContain('package-lock.json');
    expect(of('RUN')[2]).toMatch(/collect \/opt\/felix-dataplane$/);
    expect(of('COPY').at(-1)).toBe('--from=runtime /opt/felix-dataplane /opt/felix-dataplane');
  });

  it.each(['iptables', 'nftables', 'ipset', 'iproute2', 'conntrack', 'kmod'])('has the package %s', (tool) => {
    expect(of('RUN').at(-1)?.split(/\s+/)).toContain(tool);
  });

  it('starts, and is checked, by programs of the collected folder', () => {
    for (const text of [...of('ENTRYPOINT'), ...of('HEALTHCHECK')]) {
      const program = /\/opt\/felix-dataplane\/([a-z-]+)/.exec(text)?.[1] ?? '';
      expect(existsSync(join(root, 'deploy/runtime', program)), program).toBe(true);
    }
  });
});
