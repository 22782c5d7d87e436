/** The client: submits runs, waits for them, reads what the record says. */
import { createHash } from "node:crypto";
import { v7 as uuidv7, validate } from "uuid";
import { z } from "zod";
import { type Fault, HitzeroError } from "../../base/errors.ts";
import { encodeJson } from "../../base/json.ts";
import { createLog, type Log } from "../../base/log.ts";
import { Bell, pause } from "../../base/wait.ts";
import {
  acceptCommand,
  commandEffect,
  commandOutcome,
  type SignalContent,
  type UserCommand,
} from "../../postgres/commands.ts";
import { Database, type Queryable } from "../../postgres/database.ts";
import {
  acceptRedrive,
  type DeadLetterFilter,
  type DeadLetterId,
  type DeadLetterRow,
  discardDeadLetter,
  getDeadLetter,
  listDeadLetters,
} from "../../postgres/dead_letters.ts";
import {
  type EventFilter,
  type EventRow,
  listEvents,
  listStarts,
  type StartRow,
} from "../../postgres/events.ts";
import { listOpen, listPartitions, readInstallation } from "../../postgres/partitions.ts";
import { countLive, type LiveProcesses } from "../../postgres/registry.ts";
import {
  acceptRuns,
  countFinal,
  countNodes,
  getRun,
  listFirst,
  listNodes,
  listResults,
  listRuns,
  type NodeExecutionRow,
  type NodeFilter,
  type RunFilter,
  type RunResult,
  type RunRow,
} from "../../postgres/runs.ts";
import {
  activateVersion,
  findVersion,
  listWorkflows,
  registerVersion,
  type WorkflowRow,
  type WorkflowVersion,
} from "../../postgres/workflows.ts";
import { RedisAwayError, RedisConnection } from "../../redis/connection.ts";
import { stateChannel } from "../../redis/keys.ts";
import { FenceError, Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { nudgeReader } from "../../redis/upkeep.ts";
import { isFinalRunStatus, type NodeStatus } from "../../token/lifecycle.ts";
import { type CompileOptions, compile } from "../../workflow/compile/compile.ts";
import { functionsOf } from "../../workflow/ir/function_of.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { checkTags, checkText, TEXT_LIMITS } from "../checked_texts.ts";
import { LIMITS, type Limits, MAX_INPUT_BYTES, MAX_JSON_DEPTH } from "../limits.ts";
import { checkSignal } from "../nodes/signals.ts";
import type { StateChange } from "../reader/record_types.ts";
import { checkOptions } from "../settings.ts";
import { startRuns } from "../start_run.ts";
import { findUnserved, findWaiting, type Unserved, type WaitingNode } from "../unserved.ts";
import { whileAway } from "../while_away.ts";
import { encodeInput } from "./input.ts";

export interface ClientOptions {
  redisUrl: string;
  databaseUrl: string;
  /** Default `hitzero`. */
  namespace?: string;
  log?: Log;
  /** Told when Postgres goes away during a call, which waits for it. */
  onAway?: (error: HitzeroError) => void;
  /** Aborted: no call waits any more for a server that is away. */
  signal?: AbortSignal;
}

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

/** Runs accepted in one transaction. */
const ACCEPT_BATCH = 1_000;
/** Largest `count`. */
const MAX_COUNT = 100_000;
const RESULTS_AT_ONCE = 50;
/** A call waits for Postgres for so long: a restart takes seconds, a failover of a managed one up to two minutes. */
const AWAY_LIMIT_MS = 150_000;

const stateChange: z.ZodType<StateChange> = z.looseObject({
  instance_id: z.string(),
  node_id: z.string().optional(),
  scope: z.string().optional(),
  previous_state: z.string(),
  new_state: z.string(),
  reason: z.string().nullable(),
  timestamp: z.string(),
  duration_ms: z.number().optional(),
}) as never;

/** What `summarizeNodes` answers. */
export interface NodeSummary {
  rows: NodeExecutionRow[];
  counts: ReadonlyMap<string, Partial<Record<NodeStatus, number>>>;
}

export class Client {
  readonly #database: Database;
  /** The same for single statements, each of which may be repeated. */
  readonly #record: Queryable;
  readonly #whileAway: <T>(call: () => Promise<T>) => Promise<T>;
  readonly #closed = new AbortController();
  readonly #redis: RedisConnection;
  readonly #partitions: readonly Partition[];
  readonly #log: Log;

  private constructor(
    database: Database,
    redis: RedisConnection,
    partitions: readonly Partition[],
    options: ClientOptions,
  ) {
    this.#database = database;
    this.#redis = redis;
    this.#partitions = partitions;
    this.#log = options.log ?? createLog("silent");
    const { onAway, signal } = options;
    signal?.addEventListener("abort", () => this.#closed.abort(), { once: true });
    const waiting = { signal: this.#closed.signal, limitMs: AWAY_LIMIT_MS, ...(onAway ? { onAway } : {}) };
    this.#whileAway = (call) => whileAway(waiting, call);
    this.#record = { query: (sql, values) => this.#whileAway(() => database.query(sql, values)) };
  }

  /** Connects. @throws HitzeroError BAD_NAMESPACE; another (exit code 3) when a server cannot be used */
  static async connect(options: ClientOptions, limits: Limits = LIMITS): Promise<Client> {
    checkOptions(options);
    const { namespace = "hitzero" } = options;
    const database = new Database(options.databaseUrl);
    let redis: RedisConnection | undefined;
    try {
      const numbers = await listPartitions(database);
      redis = await RedisConnection.open(options.redisUrl);
      await refuseMissingRights(redis, namespace);
      const installation = await readInstallation(database);
      const connection = redis;
      const partitions = numbers.map(
        (number) => new Partition(connection, namespace, number, installation, limits),
      );
      for (const partition of partitions) await partition.checkOwner();
      return new Client(database, connection, partitions, options);
    } catch (error) {
      redis?.close();
      await database.close();
      throw error;
    }
  }

  /** Compiles and registers a workflow file (or IR). @throws InvalidInputError with all faults */
  async register(document: unknown, options?: CompileOptions): Promise<RegisteredWorkflow> {
    const { ir, digest, warnings } = compile(document, options);
    const version = await this.#whileAway(() => registerVersion(this.#database, ir, digest, document));
    return { ...version, ir, warnings };
  }

  /** Finds a registered workflow. @throws HitzeroError WORKFLOW_NOT_FOUND */
  async find(name: string, version?: number): Promise<RegisteredWorkflow> {
    return { ...(await findVersion(this.#record, name, version)), warnings: [] };
  }

  /**
   * Makes a registered version the one that runs by name; `first`: only if it is version 1 and no version is active. Answers the
   * active version.
   */
  activate(
    { workflowName, version }: Pick<WorkflowVersion, "workflowName" | "version">,
    options: { first?: boolean } = {},
  ): Promise<number | null> {
    return this.#whileAway(() =>
      activateVersion(this.#database, workflowName, version, options.first === true),
    );
  }

  /** The registered workflows by name. */
  listWorkflows(): Promise<WorkflowRow[]> {
    return listWorkflows(this.#record);
  }

  /** What the workflow asks for and no live worker has. */
  unserved(ir: IR): Promise<Unserved> {
    const queues = [...new Set(ir.nodes.map(({ queue }) => queue))];
    return findUnserved(this.#record, queues, functionsOf(ir));
  }

  /** Executions of a run that wait for a worker, since no live one reads their queue or offers their function. */
  async waitingForWorkers(run: Pick<RunRow, "run_id" | "partition">, ir: IR): Promise<WaitingNode[]> {
    const partition = this.#partitions.find(({ number }) => number === run.partition);
    if (!partition) return [];
    return findWaiting(partition, await this.unserved(ir), async () => ir, { runId: run.run_id });
  }

  async liveProcesses(): Promise<LiveProcesses> {
    return countLive(this.#record);
  }

  /**
   * Submits runs. When this returns they are in Postgres and will reach a final status.
   * @throws HitzeroError BAD_COUNT, IDEMPOTENCY_CONFLICT, PARTITION_CLOSED, or for an input that the workflow does not accept
   */
  async submit(workflow: RegisteredWorkflow, options: SubmitOptions = {}): Promise<Submission> {
    const { count = 1, idempotencyKey, tags = [] } = options;
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
    const input = encodeInput(workflow.ir, options.input);
    const submission: Submission = { runIds: [], existing: false, waiting: 0 };
    for (let first = 0; first < count; first += ACCEPT_BATCH) {
      const epochs = await listOpen(
        this.#record,
        this.#partitions.map(({ number }) => number),
      );
      const size = Math.min(ACCEPT_BATCH, count - first);
      const runs = Array.from({ length: size }, () => newRun(input, [...epochs.keys()]));
      const acceptance = {
        workflow,
        runs,
        tags,
        ...(idempotencyKey === undefined
          ? {}
          : { idempotencyKey, inputDigest: digestOfInput(workflow.digest, input) }),
      };
      const accepted = await this.#whileAway(() => acceptRuns(this.#database, acceptance));
      submission.runIds.push(...accepted.runIds);
      submission.existing = accepted.existing;
      if (!accepted.existing) submission.waiting += await this.#startAll(workflow, runs, epochs);
    }
    return submission;
  }

  /** Starts accepted runs; answers how many are left to the supervisor. */
  async #startAll(
    { ir, digest }: Pick<RegisteredWorkflow, "ir" | "digest">,
    runs: readonly { runId: string; partition: number; input: string }[],
    epochs: ReadonlyMap<number, string>,
  ): Promise<number> {
    const waiting = await Promise.all(
      this.#partitions.map(async (partition) => {
        const mine = runs.filter((run) => run.partition === partition.number);
        const items = mine.map(({ runId, input }) => ({ runId, generation: 1, digest, ir, input }));
        try {
          const answers = await startRuns(partition, epochs.get(partition.number) ?? "0", items);
          return answers.filter((answer) => answer !== "started" && answer !== "exists" && answer !== "gone")
            .length;
        } catch (error) {
          // The runs are accepted: that they do not start now is no failure of the submit.
          const expected = error instanceof FenceError || error instanceof RedisAwayError;
          this.#log[expected ? "debug" : "warn"](
            { runs: mine.length, first: mine[0]?.runId, error: String(error) },
            "the supervisor will start these runs",
          );
          return mine.length;
        }
      }),
    );
    return waiting.reduce((total, count) => total + count, 0);
  }

  /**
   * Gives a command to a run. When this returns it is on record and will be applied once, or its refusal is.
   * @throws HitzeroError RUN_NOT_FOUND, RUN_FINAL (the run is over; the message says how it ended)
   */
  async command(
    runId: string,
    kind: Exclude<UserCommand, "signal">,
    commandId: string = uuidv7(),
  ): Promise<{ commandId: string }> {
    return this.#command(runId, { kind, commandId });
  }

  /**
   * Gives a signal to a run: to the node that has waited longest for its name, or kept for the next one that does. When this returns it is on
   * record; the same `signalId` again is the same signal.
   * @throws HitzeroError RUN_NOT_FOUND, RUN_FINAL, SIGNAL_UNKNOWN, SIGNAL_NOT_ASSIGNED, SIGNAL_INVALID (nothing is on record then)
   */
  async signal(
    runId: string,
    signal: SignalContent,
    signalId: string = uuidv7(),
  ): Promise<{ commandId: string }> {
    checkText("the signal's name", signal.name, TEXT_LIMITS.signal);
    if (signal.by !== undefined) checkText("by", signal.by, TEXT_LIMITS.by);
    if (signal.scope !== undefined) checkText("the scope", signal.scope, TEXT_LIMITS.scope, true);
    if (!validate(signalId))
      throw new HitzeroError("BAD_TEXT", "the signal's id is no UUID", {
        hint: "Leave it out, or give a UUID.",
      });
    const { workflow_name, workflow_version } = await this.getRun(runId);
    const { ir } = await findVersion(this.#record, workflow_name, workflow_version);
    encodeJson(signal.payload, {
      maxBytes: MAX_INPUT_BYTES,
      maxDepth: MAX_JSON_DEPTH,
      what: `the payload of signal ${signal.name}`,
    });
    checkSignal(ir, signal);
    return this.#command(runId, { kind: "signal", commandId: signalId, signal });
  }

  async #command(
    runId: string,
    command: { kind: UserCommand; commandId: string; signal?: SignalContent },
  ): Promise<{ commandId: string }> {
    const run = await this.getRun(runId);
    if (isFinalRunStatus(run.status)) {
      // Given again under its id after it took effect, as by somebody who did not hear the answer.
      if ((await commandOutcome(this.#record, command.commandId)) === "applied") return command;
      throw new HitzeroError("RUN_FINAL", `run ${runId} is over: it is ${run.status}`, {
        hint: "A final status never changes.",
      });
    }
    await acceptCommand(this.#record, { ...command, runId, partition: run.partition });
    const partition = this.#partitions.find(({ number }) => number === run.partition);
    // The reader finds the row by itself within a second; this only saves the wait.
    if (partition) await nudgeReader(partition).catch(() => {});
    return { commandId: command.commandId };
  }

  /** Cancels a run: what waits is CANCELLED, what runs is told to stop, what completed is kept. See `command`. */
  cancel(runId: string): Promise<{ commandId: string }> {
    return this.command(runId, "cancel");
  }

  /** Pauses a run and its child runs: nothing new is handed out. See `command`. */
  pause(runId: string): Promise<{ commandId: string }> {
    return this.command(runId, "pause");
  }

  /** Ends a pause of a run and its child runs. See `command`. */
  resume(runId: string): Promise<{ commandId: string }> {
    return this.command(runId, "resume");
  }

  /** Waits until a command took effect (`applied`) or was refused; undefined when `signal` is aborted before. */
  async waitForCommand(
    commandId: string,
    options: { signal?: AbortSignal; pollMs?: number } = {},
  ): Promise<string | undefined> {
    for (;;) {
      const outcome = await commandOutcome(this.#record, commandId);
      if (outcome !== undefined || options.signal?.aborted) return outcome;
      await pause(options.pollMs ?? 50, options.signal);
    }
  }

  /** What a command that took effect did, in words: to whom a signal was given, or that it is kept. */
  commandEffect(commandId: string): Promise<string | undefined> {
    return commandEffect(this.#record, commandId);
  }

  /** @throws HitzeroError RUN_NOT_FOUND */
  getRun(runId: string): Promise<RunRow> {
    return getRun(this.#record, runId);
  }

  listRuns(filter: RunFilter = {}): Promise<RunRow[]> {
    return listRuns(this.#record, filter);
  }

  /** What these runs came to, or are at, in the same order; read some at a time, as outputs may be large. */
  async *listResults(runIds: readonly string[]): AsyncGenerator<RunResult> {
    for (let first = 0; first < runIds.length; first += RESULTS_AT_ONCE)
      yield* await listResults(this.#record, runIds.slice(first, first + RESULTS_AT_ONCE));
  }

  /** The executions of a run in order of time. A run over a large map has very many: see `summarizeNodes`. */
  listNodes(runId: string, filter: NodeFilter = {}): Promise<NodeExecutionRow[]> {
    return listNodes(this.#record, runId, filter);
  }

  /**
   * The executions of nodes that have at most `most`, of all others the first one and the first that failed, in order of time and
   * without outputs; with them how many each node has in each status.
   */
  async summarizeNodes(runId: string, most: number): Promise<NodeSummary> {
    const counts = await countNodes(this.#record, runId);
    const total = (id: string) => Object.values(counts.get(id) ?? {}).reduce((sum, count) => sum + count, 0);
    const ids = [...counts.keys()];
    const few = { outputs: false, nodeIds: ids.filter((id) => total(id) <= most) };
    const rows = [
      ...(await listNodes(this.#record, runId, few)),
      ...(await listFirst(
        this.#record,
        runId,
        ids.filter((id) => total(id) > most),
      )),
    ];
    const timeOf = ({ started_at, ended_at }: NodeExecutionRow) => (started_at ?? ended_at)?.getTime() ?? 0;
    return { rows: rows.sort((a, b) => timeOf(a) - timeOf(b)), counts };
  }

  /** Events of a run in order. Starts of executions are not among them: see `listStarts`. */
  listEvents(runId: string, filter: EventFilter = {}): Promise<EventRow[]> {
    return listEvents(this.#record, runId, filter);
  }

  /** When executions of these nodes, and of all nodes that run now, began. */
  listStarts(runId: string, nodeIds: readonly string[]): Promise<StartRow[]> {
    return listStarts(this.#record, runId, nodeIds);
  }

  /** Executions that were given up after workers died with them, newest first; those that nobody decided about. */
  listDeadLetters(filter: DeadLetterFilter = {}): Promise<DeadLetterRow[]> {
    return listDeadLetters(this.#record, filter);
  }

  /** @throws HitzeroError DEAD_LETTER_NOT_FOUND */
  getDeadLetter(id: DeadLetterId): Promise<DeadLetterRow> {
    return getDeadLetter(this.#record, id);
  }

  /**
   * Repeats the run of a dead letter: a new run with its version, input and tags.
   * @throws HitzeroError DEAD_LETTER_NOT_FOUND, DEAD_LETTER_DECIDED
   */
  async redrive(id: DeadLetterId): Promise<{ runId: string; openBesides: number }> {
    const open = await listOpen(
      this.#record,
      this.#partitions.map(({ number }) => number),
    );
    const { runId, partition } = newRun("", [...open.keys()]);
    const accepted = await acceptRedrive(this.#database, id, { runId, partition });
    const { workflowName, workflowVersion, digest, input, epoch, openBesides } = accepted;
    const { ir } = await findVersion(this.#record, workflowName, workflowVersion);
    await this.#startAll({ ir, digest }, [{ runId, partition, input }], new Map([[partition, epoch]]));
    return { runId, openBesides };
  }

  /** Decides that nothing is to be done about a dead letter. @throws HitzeroError DEAD_LETTER_NOT_FOUND, DEAD_LETTER_DECIDED */
  discard(id: DeadLetterId): Promise<void> {
    return discardDeadLetter(this.#database, id);
  }

  /**
   * Waits for the run's final status. `onChange` hears each change of state that is committed while waiting.
   * @throws HitzeroError RUN_NOT_FOUND
   */
  async wait(
    runId: string,
    options: { onChange?: (change: StateChange) => void; signal?: AbortSignal } = {},
  ): Promise<RunRow> {
    const bell = new Bell();
    const listener = await this.#hear(runId, (change) => {
      options.onChange?.(change);
      if (change.node_id === undefined) bell.ring();
    });
    try {
      for (;;) {
        const run = await this.getRun(runId);
        if (isFinalRunStatus(run.status) || options.signal?.aborted) return run;
        // The record is the truth; the announcement only saves waiting.
        await bell.rungWithin(1_000, options.signal);
      }
    } finally {
      listener?.close();
    }
  }

  /** Hears of a run's changes, on a connection of its own; undefined while Redis is away. */
  async #hear(runId: string, hear: (change: StateChange) => void): Promise<RedisConnection | undefined> {
    let listener: RedisConnection | undefined;
    try {
      listener = await this.#redis.duplicate();
      await listener.subscribe(stateChannel(runId), (message) => {
        const change = stateChange.safeParse(JSON.parse(message));
        if (change.success) hear(change.data);
      });
      return listener;
    } catch (error) {
      listener?.close();
      if ((error as HitzeroError).exitCode === 3) return undefined;
      throw error;
    }
  }

  /** Waits until all of these runs are final; answers how many ended in each status. */
  async waitAll(
    runIds: readonly string[],
    options: { onProgress?: (final: number) => void; signal?: AbortSignal; pollMs?: number } = {},
  ): Promise<Record<string, number>> {
    for (;;) {
      const counts = await countFinal(this.#record, runIds);
      const final = Object.values(counts).reduce((total, count) => total + count, 0);
      options.onProgress?.(final);
      if (final === runIds.length || options.signal?.aborted) return counts;
      await pause(options.pollMs ?? 100, options.signal);
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#redis.close();
    await this.#database.close();
  }
}

function newRun(input: string, partitions: readonly number[]) {
  const partition = partitions[Math.floor(Math.random() * partitions.length)] as number;
  return { runId: uuidv7(), partition, input };
}

function digestOfInput(irDigest: string, input: string): string {
  return createHash("sha256").update(irDigest).update("\n").update(input).digest("hex");
}
