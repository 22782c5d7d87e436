/** A run in a batch: what its reader knows of it, and what the batch brings. */
import { runBytes } from "../../postgres/copied_executions.ts";
import type { RunTotals } from "../../postgres/finals.ts";
import type { EventPack } from "../../postgres/packed_events.ts";
import type { RunOnRecord } from "../../postgres/record.ts";
import type { RunStatus } from "../../token/lifecycle.ts";
import type { IR } from "../../workflow/ir/ir.ts";

/** What is on record of a run, as far as its reader, who alone writes it, knows. */
export class KnownRun implements RunOnRecord {
  readonly runId: string;
  readonly digest: string;
  readonly refused: boolean;
  readonly isChild: boolean;
  hasBlobs: boolean;
  status: RunStatus;
  lastSeq: number;
  /** Of all its executions on record; undefined: they are to be counted. */
  totals: RunTotals | undefined;
  #bytes: Uint8Array | undefined;

  constructor(runId: string, run: RunOnRecord) {
    this.runId = runId;
    this.digest = run.digest;
    this.refused = run.refused;
    this.isChild = run.isChild;
    this.hasBlobs = run.hasBlobs;
    this.status = run.status;
    this.lastSeq = run.lastSeq;
  }

  /** As its rows begin. */
  get bytes(): Uint8Array {
    this.#bytes ??= runBytes(this.runId);
    return this.#bytes;
  }
}

export class BatchRun {
  readonly known: KnownRun;
  readonly ir: IR;
  /** On record, before the batch. */
  readonly status: RunStatus;
  /** With what the batch brings. */
  totals: RunTotals | undefined;
  /** Of its only terminal node. JSON text. */
  output: string | undefined;
  pack: EventPack | undefined;

  constructor(known: KnownRun, ir: IR) {
    this.known = known;
    this.ir = ir;
    this.status = known.status;
    this.totals = known.totals && { ...known.totals };
    this.output = undefined;
    this.pack = undefined;
  }

  get runId(): string {
    return this.known.runId;
  }

  get bytes(): Uint8Array {
    return this.known.bytes;
  }

  /** Nothing of it can be on record. */
  get isNew(): boolean {
    return this.known.status === "PENDING" && this.known.lastSeq === 0;
  }
}
