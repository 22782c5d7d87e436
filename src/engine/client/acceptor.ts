/**
 * Accepts submissions, many in one transaction.
 *
 * Owns the line of submissions that are not accepted yet. One transaction is under way at a time, and what came meanwhile forms the next one:
 * a submission alone waits for nobody. Each is answered once its transaction is committed. What Postgres refuses for the sake of one of them
 * is taken apart, beside the line: the others are accepted, and only that one fails, or waits. A crash loses only what was not answered.
 */
import { HitzeroError } from "../../base/errors.ts";
import { type Acceptance, type AcceptanceOutcome, acceptRuns } from "../../postgres/accept_runs.ts";
import { isPostgresAway } from "../../postgres/connection_errors.ts";
import { isDataFault, isLockTimeout } from "../../postgres/database.ts";
import { listOpen } from "../../postgres/partitions.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { Connections } from "./connections.ts";
import { startAccepted } from "./start_accepted.ts";

/** Runs that are accepted together or not at all. */
export interface Submitted extends Omit<Acceptance, "runs"> {
  runIds: readonly string[];
  ir: IR;
}

export interface Accepted {
  runIds: readonly string[];
  /** The key made them before. */
  existing: boolean;
  /** How many could not be started at once, known when it was tried. Never rejects. */
  waiting: Promise<number>;
}

export interface GroupLimits {
  /** Runs of one transaction. */
  runs: number;
  /** Bytes of their inputs, but for those of a single submission. */
  bytes: number;
}

interface Member {
  submitted: Submitted;
  acceptance: Acceptance;
  resolve: (accepted: Accepted) => void;
  reject: (error: unknown) => void;
}

/** Who claims the same keys has this long before the group goes on without those whose keys they are. More than Postgres takes to see a deadlock. */
const LOCK_LIMIT_MS = 2_000;

const inputBytesOf = ({ input, runIds }: Pick<Submitted, "input" | "runIds">): number =>
  Buffer.byteLength(input) * runIds.length;

export class Acceptor {
  readonly #connections: Connections;
  readonly #limits: GroupLimits;
  readonly #line: Omit<Member, "acceptance">[] = [];
  #busy = false;

  constructor(connections: Connections, limits: GroupLimits) {
    this.#connections = connections;
    this.#limits = limits;
  }

  /**
   * Resolves once the runs are on record.
   * @throws HitzeroError IDEMPOTENCY_CONFLICT, PARTITION_CLOSED, SUBMIT_UNKNOWN, or others with exit code 3
   */
  accept(submitted: Submitted): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      this.#line.push({ submitted, resolve, reject });
      if (!this.#busy) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#busy = true;
    while (this.#line.length > 0) await this.#acceptGroup(this.#nextGroup());
    this.#busy = false;
  }

  #nextGroup(): Omit<Member, "acceptance">[] {
    let [runs, bytes, size] = [0, 0, 0];
    for (const { submitted } of this.#line) {
      runs += submitted.runIds.length;
      bytes += inputBytesOf(submitted);
      if (size > 0 && (runs > this.#limits.runs || bytes > this.#limits.bytes)) break;
      size += 1;
    }
    return this.#line.splice(0, size);
  }

  async #acceptGroup(group: readonly Omit<Member, "acceptance">[]): Promise<void> {
    const { record, partitions } = this.#connections;
    try {
      const numbers = partitions.map(({ number }) => number);
      const epochs = await listOpen(record, numbers);
      const open = [...epochs.keys()];
      const members = group.map((one): Member => {
        const { runIds, ir: _ir, ...content } = one.submitted;
        const runs = runIds.map((runId) => ({ runId, partition: anyOf(open) }));
        return { ...one, acceptance: { ...content, runs } };
      });
      await this.#acceptTogether(members, epochs, LOCK_LIMIT_MS);
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  /** Answers each of them; what is to be taken apart goes on when this returns. Never rejects. */
  async #acceptTogether(
    members: readonly Member[],
    epochs: ReadonlyMap<number, string>,
    lockLimitMs?: number,
  ): Promise<void> {
    const { database, whileAway } = this.#connections;
    const acceptances = members.map(({ acceptance }) => acceptance);
    try {
      const outcomes = await whileAway(() => acceptRuns(database, acceptances, { lockLimitMs }));
      this.#answer(members, outcomes, epochs);
    } catch (error) {
      const parts = partsOf(members, error, lockLimitMs);
      const itsLimitMs = isLockTimeout(error) ? undefined : lockLimitMs;
      for (const part of parts) void this.#acceptTogether(part, epochs, itsLimitMs);
      if (parts.length > 0) return;
      for (const { reject, submitted } of members)
        reject(isPostgresAway(error) ? unknown(submitted, error) : error);
    }
  }

  #answer(
    members: readonly Member[],
    outcomes: readonly AcceptanceOutcome[],
    epochs: ReadonlyMap<number, string>,
  ): void {
    const made = members.filter((_member, index) => {
      const outcome = outcomes[index] as AcceptanceOutcome;
      return outcome.runIds !== undefined && !outcome.existing;
    });
    const runs = made.flatMap(({ submitted: { ir, input, workflow }, acceptance }) =>
      acceptance.runs.map((run) => ({ ...run, ir, digest: workflow.digest, input })),
    );
    const left = startAccepted(this.#connections, runs, epochs);
    for (const [index, { resolve, reject }] of members.entries()) {
      const outcome = outcomes[index] as AcceptanceOutcome;
      if (outcome.runIds === undefined) {
        reject(outcome.refusal);
        continue;
      }
      const { runIds, existing } = outcome;
      const waiting = left.then((ids) => (existing ? 0 : runIds.filter((id) => ids.has(id)).length));
      resolve({ runIds, existing, waiting });
    }
  }
}

/** How a group is taken apart that one of its members stands in the way of; empty: the fault is no member's, or there is but one. */
function partsOf(members: readonly Member[], error: unknown, lockLimitMs: number | undefined): Member[][] {
  const hasKey = ({ submitted }: Member) => submitted.idempotencyKey !== undefined;
  const keyless = members.filter((member) => !hasKey(member));
  // Somebody holds a key, or keys in another order: each goes by itself, and waits as long as it takes.
  if (isLockTimeout(error) && lockLimitMs !== undefined)
    return [keyless, ...members.filter(hasKey).map((member) => [member])].filter((part) => part.length > 0);
  if (members.length === 1 || !isDataFault(error)) return [];
  const half = members.length >> 1;
  return [members.slice(0, half), members.slice(half)];
}

/** Nobody has heard whether the transaction was committed, and nobody waits any longer for Postgres. */
function unknown({ runIds }: Submitted, error: HitzeroError): HitzeroError {
  const [first] = runIds;
  const which = runIds.length === 1 ? `run ${first}` : `the ${runIds.length} runs from ${first} on`;
  return new HitzeroError(
    "SUBMIT_UNKNOWN",
    `it is not known whether ${which} was accepted: ${error.message}`,
    {
      hint: `Once Postgres is back, \`npx hitzero run show ${first}\` tells. Only with an idempotency key a submit may be repeated blindly.`,
      exitCode: 3,
      cause: error,
    },
  );
}

export const anyOf = (partitions: readonly number[]) =>
  partitions[Math.floor(Math.random() * partitions.length)] as number;
