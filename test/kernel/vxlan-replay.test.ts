import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadRecording, type Recording, splitFrames } from '../fixtures/recording.js';
import { dumpKernel } from './support/dump.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { type NetworkNode, startNetworkNode } from './support/network-node.js';

/** The dumps that routes and interfaces alone make. */
const KINDS = ['route4', 'route6', 'rule', 'neigh', 'fdb', 'qdisc', 'links', 'sysctl'];

let namespace: Namespace;
let node: NetworkNode | null = null;

beforeEach(async () => {
  namespace = await createNamespace('netreplay');
});

afterEach(async () => {
  node?.stop();
  node = null;
  await namespace.remove();
});

async function networkDump(): Promise<Record<string, string>> {
  const dump = await dumpKernel(namespace, 'nftables');
  return Object.fromEntries(KINDS.map((kind) => [kind, dump[kind] ?? '']));
}

function expectedDump(recording: Recording, step: string): Record<string, string> {
  const files = recording.expected['iptables-nft']?.[step];
  if (files === undefined) throw new Error(`No expected state of step ${step}`);
  return Object.fromEntries(KINDS.map((kind) => [kind, files[`${kind}.txt`] ?? '']));
}

describe('network managers and reconcilers', () => {
  it.each(['vxlan', 'cluster-routes', 'ipip', 'interface-flap', 'pod-features', 'dual-stack'])(
    'make the network state of recording %s, and nothing more after a restart',
    async (name) => {
      const recording = loadRecording(name);
      const frames = splitFrames(recording.stream);
      await namespace.shell(recording.hostScript);
      node = await startNetworkNode(namespace, frames);
      let done = 0;
      for (const [index, step] of recording.steps.steps.entries()) {
        node.feed(frames.slice(done, step.frames));
        done = step.frames;
        await node.settle();
        const stepName = `${String(index).padStart(2, '0')}-${step.name}`;
        expect({ stepName, ...(await networkDump()) }).toEqual({ stepName, ...expectedDump(recording, stepName) });
      }
      node.stop();
      node = await startNetworkNode(namespace, frames);
      node.feed(frames);
      await node.settle();
      expect(node.operations).toEqual([]);
    },
  );
});
