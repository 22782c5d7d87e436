/** The client: submits runs, waits for them, reads what the record says. */

import { v7 as uuidv7 } from "uuid";
import { commandEffect, type SignalContent, type UserCommand } from "../../postgres/commands.ts";
import type { Queryable } from "../../postgres/database.ts";
import {
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
import { countLive, type LiveProcesses } from "../../postgres/registry.ts";
import {
  getRun,
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
import { FenceError } from "../../redis/fence_error.ts";
import { type CompileOptions, compile } from "../../workflow/compile/compile.ts";
import { functionsOf } from "../../workflow/ir/function_of.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { Limits } from "../limits.ts";
import type { StateChange } from "../reader/record_types.ts";
import { findUnserved, findWaiting, type Unserved, type WaitingNode } from "../unserved.ts";
import { Acceptor } from "./acceptor.ts";
import { giveCommand, giveSignal } from "./commands.ts";
import { type ClientOptions, type Connections, connect } from "./connections.ts";
import { type NodeSummary, summarizeNodes } from "./node_summary.ts";
import {
  GROUP_LIMITS,
  type RegisteredWorkflow,
  redriveRun,
  type Submission,
  type SubmitOptions,
  submitRuns,
} from "./submit.ts";
import { waitForCommand, waitForRun, waitForRuns } from "./waiting.ts";

export type { ClientOptions, NodeSummary, RegisteredWorkflow, Submission, SubmitOptions };

/** Results that are read together. */
const RESULTS_AT_ONCE = 50;

export class Client {
  readonly #connections: Connections;
  readonly #acceptor: Acceptor;

  private constructor(connections: Connections) {
    this.#connections = connections;
    this.#acceptor = new Acceptor(connections, GROUP_LIMITS);
  }

  /** Connects. @throws HitzeroError BAD_NAMESPACE; another (exit code 3) when a server cannot be used */
  static async connect(options: ClientOptions, limits?: Limits): Promise<Client> {
    return new Client(await connect(options, limits));
  }

  get #record(): Queryable {
    return this.#connections.record;
  }

  /** Compiles and registers a workflow file (or IR). @throws InvalidInputError with all faults */
  async register(document: unknown, options?: CompileOptions): Promise<RegisteredWorkflow> {
    const { ir, digest, warnings } = compile(document, options);
    const { database, whileAway } = this.#connections;
    const version = await whileAway(() => registerVersion(database, ir, digest, document));
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
    const { database, whileAway } = this.#connections;
    return whileAway(() => activateVersion(database, workflowName, version, options.first === true));
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
    const partition = this.#connections.partition(run.partition);
    if (!partition) return [];
    try {
      await partition.refresh();
    } catch (error) {
      // What waits in a partition that is closed is not known.
      if (error instanceof FenceError) return [];
      throw error;
    }
    return findWaiting(partition, await this.unserved(ir), async () => ir, { runId: run.run_id });
  }

  async liveProcesses(): Promise<LiveProcesses> {
    return countLive(this.#record);
  }

  /**
   * Submits runs. When this returns they are in Postgres and will reach a final status. Calls that are under way at the same time share a
   * transaction; each is answered for itself.
   * @throws HitzeroError BAD_COUNT, BAD_TEXT, IDEMPOTENCY_CONFLICT, PARTITION_CLOSED, or for an input that the workflow does not accept;
   *   SUBMIT_UNKNOWN when Postgres went away and did not come back: the run may be accepted
   */
  submit(workflow: RegisteredWorkflow, options: SubmitOptions = {}): Promise<Submission> {
    return submitRuns(this.#acceptor, workflow, options);
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
    return giveCommand(this.#connections, runId, { kind, commandId });
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
    return giveSignal(this.#connections, runId, signal, signalId);
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
    return waitForCommand(this.#connections, commandId, options);
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
    return summarizeNodes(this.#connections, runId, most);
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
    return redriveRun(this.#connections, id);
  }

  /** Decides that nothing is to be done about a dead letter. @throws HitzeroError DEAD_LETTER_NOT_FOUND, DEAD_LETTER_DECIDED */
  discard(id: DeadLetterId): Promise<void> {
    return discardDeadLetter(this.#connections.database, id);
  }

  /**
   * Waits for the run's final status. `onChange` hears each change of state that is committed while waiting.
   * @throws HitzeroError RUN_NOT_FOUND
   */
  async wait(
    runId: string,
    options: { onChange?: (change: StateChange) => void; signal?: AbortSignal } = {},
  ): Promise<RunRow> {
    return waitForRun(this.#connections, runId, options);
  }

  /** Waits until all of these runs are final; answers how many ended in each status. */
  async waitAll(
    runIds: readonly string[],
    options: { onProgress?: (final: number) => void; signal?: AbortSignal; pollMs?: number } = {},
  ): Promise<Record<string, number>> {
    return waitForRuns(this.#connections, runIds, options);
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}
