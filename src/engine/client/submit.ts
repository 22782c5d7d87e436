/** Submitting runs: what is wrong with a submission is told before anything is stored. */
import { createHash } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import type { Fault } from "../../base/errors.ts";
import { HitzeroError } from "../../base/errors.ts";
import { acceptRedrive, type DeadLetterId } from "../../postgres/dead_letters.ts";
import { listOpen } from "../../postgres/partitions.ts";
import { findVersion, type WorkflowVersion } from "../../postgres/workflows.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { checkTags, checkText, TEXT_LIMITS } from "../checked_texts.ts";
import { PART_BYTES } from "../limits.ts";
import { type Accepted, type Acceptor, anyOf, type GroupLimits, type Submitted } from "./acceptor.ts";
import type { Connections } from "./connections.ts";
import { encodeInput } from "./input.ts";
import { startAccepted } from "./start_accepted.ts";

/** A workflow that can be submitted. */
export interface RegisteredWorkflow extends WorkflowVersion {
  ir: IR;
  /** What the compiler found worth a word. */
  warnings: readonly Fault[];
}

export interface SubmitOptions {
  input?: unknown;
  /** Runs to make of it. Default 1. */
  count?: number;
  tags?: readonly string[];
  /** The same key again answers the run that it made; with another workflow or input it is refused. */
  idempotencyKey?: string;
}

export interface Submission {
  runIds: string[];
  /** The idempotency key was known: these runs were made before. */
  existing: boolean;
  /** Accepted runs that could not be started at once; the supervisor starts them. */
  waiting: number;
}

/** Of one transaction: so that it takes some 100 ms at most. */
export const GROUP_LIMITS: GroupLimits = { runs: 1_000, bytes: PART_BYTES };
/** Largest `count`. */
const MAX_COUNT = 100_000;

/** See `Client.submit`. */
export async function submitRuns(
  acceptor: Acceptor,
  workflow: RegisteredWorkflow,
  options: SubmitOptions,
): Promise<Submission> {
  checkOptions(options);
  const { count = 1, idempotencyKey, tags = [] } = options;
  const input = encodeInput(workflow.ir, options.input);
  const inputDigest = idempotencyKey === undefined ? undefined : digestOfInput(workflow.digest, input);
  const common: Omit<Submitted, "runIds"> = {
    workflow,
    ir: workflow.ir,
    input,
    tags,
    idempotencyKey,
    inputDigest,
  };
  const most = Math.max(
    1,
    Math.min(GROUP_LIMITS.runs, Math.floor(GROUP_LIMITS.bytes / Buffer.byteLength(input))),
  );
  const parts: Accepted[] = [];
  for (let first = 0; first < count; first += most) {
    const runIds = Array.from({ length: Math.min(most, count - first) }, () => uuidv7());
    parts.push(await acceptor.accept({ ...common, runIds }));
  }
  const waiting = await Promise.all(parts.map((part) => part.waiting));
  return {
    runIds: parts.flatMap(({ runIds }) => runIds),
    existing: parts.some(({ existing }) => existing),
    waiting: waiting.reduce((total, runs) => total + runs, 0),
  };
}

/** @throws HitzeroError BAD_COUNT, BAD_TEXT */
function checkOptions({ count = 1, idempotencyKey, tags = [] }: SubmitOptions): void {
  if (!Number.isInteger(count) || count < 1 || count > MAX_COUNT) {
    throw new HitzeroError("BAD_COUNT", `the count must be a whole number from 1 to ${MAX_COUNT}`, {
      hint: "Submit more runs in several calls.",
    });
  }
  if (idempotencyKey !== undefined && count > 1) {
    throw new HitzeroError("BAD_COUNT", "an idempotency key stands for one run", {
      hint: "Leave out one of the two.",
    });
  }
  checkTags(tags);
  if (idempotencyKey !== undefined)
    checkText("the idempotency key", idempotencyKey, TEXT_LIMITS.idempotencyKey);
}

function digestOfInput(irDigest: string, input: string): string {
  return createHash("sha256").update(irDigest).update("\n").update(input).digest("hex");
}

/** See `Client.redrive`. */
export async function redriveRun(
  connections: Connections,
  id: DeadLetterId,
): Promise<{ runId: string; openBesides: number }> {
  const { record, database, partitions } = connections;
  const open = await listOpen(
    record,
    partitions.map(({ number }) => number),
  );
  const run = { runId: uuidv7(), partition: anyOf([...open.keys()]) };
  const accepted = await acceptRedrive(database, id, run);
  const { workflowName, workflowVersion, digest, input, epoch, openBesides } = accepted;
  const { ir } = await findVersion(record, workflowName, workflowVersion);
  await startAccepted(connections, [{ ...run, ir, digest, input }], new Map([[run.partition, epoch]]));
  return { runId: run.runId, openBesides };
}
