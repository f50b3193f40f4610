// How a tool that is kept open is spoken to (ecosystem.md section 2): framing, acknowledgement, and its error texts
// made to look as if the tool had been started for this one input.

/** Tools that can be kept open. */
export type CoprocessTool = 'iptables-restore' | 'ipset-restore' | 'nft';

/** One transaction, ready to be written. */
export interface Frame {
  /** Whole lines for the tool's standard input. */
  readonly input: string;
  /** Whether the output so far ends with the acknowledgement. */
  isAcknowledged(output: string): boolean;
  /** What the tool said before the acknowledgement. */
  body(output: string): string;
  /** What it said, as a fresh process would have; `linesBefore` were written to this process earlier. */
  normalise(text: string, linesBefore: number): string;
  /** Frees what the frame holds. Called once, when the answer is there or the tool is gone. */
  dispose(): void;
}

/** One kind of tool. */
export interface CoprocessDriver {
  /** Mode of stdbuf(1) for the tool's output: its acknowledgement must not wait in a buffer. */
  readonly bufferMode: '-oL' | '-o0';
  /** argv of the process to keep open for commands of this argv. */
  processArgv(argv: readonly string[]): readonly string[];
  /** Frames an input. `sequence` is never used twice for one process. */
  frame(text: string, sequence: number): Frame;
  /** Text that is acknowledged without doing anything, to see that the tool works like this; null if there is none. */
  readonly probe: string | null;
  /** Whether a body with an acknowledgement behind it says that the tool refused the input. */
  isRefusal(body: string): boolean;
}
