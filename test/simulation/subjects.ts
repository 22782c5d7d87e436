/** Brings simulated cases to an engine: registers them with the workflows that they start, submits them, gives their signals. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../src/engine/client/client.ts";
import { until } from "../support/until.ts";
import { compareRecord } from "./compare.ts";
import { Dice } from "./dice.ts";
import { type EngineRecord, type Rows, readRecords } from "./engine_record.ts";
import type { Json, JsonObject } from "./expression.ts";
import type { SimulatedCase } from "./generator.ts";
import { ANSWERED_BY, allNodes, childrenOf, type SimulatedNode, signalNameOf } from "./model.ts";
import { renderFile } from "./model_file.ts";
import type { Watch } from "./watch.ts";

export interface Subject extends SimulatedCase {
  runId: string;
}

/** Between looks at who waits for a signal. */
const POLL_MS = 100;

interface Waiting {
  run_id: string;
  node_id: string;
  scope: string;
}

export class Subjects {
  readonly #client: Client;
  readonly #database: Rows;
  readonly #dice: Dice;
  /** By run and node: what is given to those that wait, one after another, in its child runs too. */
  readonly #answers = new Map<string, Map<string, Json[]>>();
  /** How many signals an execution was given: a command is never lost. */
  readonly #given = new Map<string, number>();
  readonly #ending = new AbortController();
  readonly #answering: Promise<void>;
  #submitted = 0;

  constructor(client: Client, database: Rows, seed: number) {
    this.#client = client;
    this.#database = database;
    this.#dice = new Dice(seed);
    this.#answering = this.#keepAnswering();
  }

  /** No more signals are given. */
  async end(): Promise<void> {
    this.#ending.abort();
    await this.#answering;
  }

  async submit(simulated: SimulatedCase): Promise<Subject> {
    this.#submitted += 1;
    const suffix = `-${this.#submitted}`;
    const { workflow, behaviours } = simulated;
    const input = this.#withInstant(simulated.input);
    const children = childrenOf(workflow);
    const name = (own: string): string => (own === workflow.name ? own : `${own}${suffix}`);
    for (const child of children) await this.#client.register(renderFile(child, behaviours, name));
    const registered = await this.#client.register(renderFile(workflow, behaviours, name));
    const { runIds } = await this.#client.submit(registered, { input });
    const runId = runIds[0] as string;
    const answers = answersOf(simulated);
    if (answers.size > 0) this.#answers.set(runId, answers);
    for (const node of workflow.nodes)
      if (answers.has(node.id) && this.#dice.chance(0.3)) await this.#giveEarly(node, runId);
    return { ...simulated, input, runId };
  }

  /** An instant in the input is one not far from now. */
  #withInstant(input: JsonObject): JsonObject {
    if (input.at === undefined) return input;
    return { ...input, at: new Date(Date.now() + this.#dice.between(-200, 2_000)).toISOString() };
  }

  /** Before anybody waits, mostly. To an open map nothing is given twice, so that it gets what is foreseen. */
  async #giveEarly(node: SimulatedNode, runId: string): Promise<void> {
    const scope = this.#dice.chance(0.5) ? { scope: "" } : {};
    if (node.type === "map") await this.#giveNext({ run_id: runId, node_id: node.id, scope: "" }, runId);
    else {
      const [answer] = this.#answers.get(runId)?.get(node.id) ?? [];
      await this.#give(runId, {
        name: `signal-${node.id}`,
        payload: { ...(answer as JsonObject), early: true },
        ...scope,
      });
    }
  }

  /** Signals to executions that wait, soon after they do. */
  async #keepAnswering(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      if (this.#answers.size > 0) await this.#answerAll().catch(() => {});
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
  }

  async #answerAll(): Promise<void> {
    const { rows } = await this.#database.query(
      `with recursive tree as (
         select run_id as root, run_id from hitzero.runs where run_id = any ($1::uuid[]) and completed_at is null
         union all
         select tree.root, r.run_id from hitzero.runs r join tree on r.parent_run_id = tree.run_id
         where r.parent_node_id is not null)
       select tree.root, e.run_id, e.node_id, e.scope from hitzero.node_executions e join tree using (run_id)
       where e.status = 'WAITING'`,
      [[...this.#answers.keys()]],
    );
    for (const row of rows as (Waiting & { root: string })[]) await this.#giveNext(row, row.root);
  }

  /** The next signal that is foreseen for an execution, if there is one. */
  async #giveNext({ run_id, node_id, scope }: Waiting, root: string): Promise<void> {
    const execution = [run_id, node_id, scope].join(" ");
    const given = this.#given.get(execution) ?? 0;
    const payload = this.#answers.get(root)?.get(node_id)?.[given];
    if (payload === undefined) return;
    await this.#give(run_id, { name: `signal-${node_id}`, payload, scope });
    this.#given.set(execution, given + 1);
  }

  async #give(runId: string, signal: { name: string; payload: Json; scope?: string }): Promise<void> {
    await this.#client.signal(runId, { ...signal, by: ANSWERED_BY }).catch((error: { code?: string }) => {
      if (error.code !== "RUN_FINAL") throw error;
    });
  }

  /** What disagrees in these runs, which are over, with the reference. */
  async compare<T extends Subject>(
    subjects: readonly T[],
    watch?: Watch,
  ): Promise<{ subject: T; record: EngineRecord; found: string[] }[]> {
    const records = await this.records(subjects.map(({ runId }) => runId));
    return subjects.map((subject) => {
      const { workflow, input, behaviours, runId } = subject;
      this.#answers.delete(runId);
      const record = records.get(runId) as EngineRecord;
      const watched = watch?.faultsOf(runId, workflow, record.events) ?? [];
      const found = [
        ...record.faults,
        ...compareRecord(workflow, input, behaviours, record.record),
        ...watched,
      ];
      return { subject, record, found };
    });
  }

  /** The records of these runs, which are over. */
  async records(runIds: readonly string[]): Promise<Map<string, EngineRecord>> {
    // Children that nobody waits for any more are cancelled, which may be later than the end of their parent.
    await until(() => this.#areChildrenOver(runIds), "child runs are over").catch(() => {});
    return readRecords(this.#database, runIds);
  }

  async #areChildrenOver(runIds: readonly string[]): Promise<boolean> {
    const { rows } = await this.#database.query(
      `with recursive tree as (
         select run_id, completed_at from hitzero.runs where parent_run_id = any ($1::uuid[]) and parent_node_id is not null
         union all
         select r.run_id, r.completed_at from hitzero.runs r join tree on r.parent_run_id = tree.run_id
         where r.parent_node_id is not null)
       select 1 from tree where completed_at is null limit 1`,
      [runIds],
    );
    return rows.length === 0;
  }
}

function answersOf({ workflow }: SimulatedCase): Map<string, Json[]> {
  const nodes = [workflow, ...childrenOf(workflow)].flatMap(allNodes);
  return new Map(
    nodes.flatMap((node): [string, Json[]][] => {
      if (signalNameOf(node) === undefined) return [];
      if (node.type === "map") return [[node.id, (node.open?.signals ?? []) as Json[]]];
      return "answer" in node && node.answer !== null ? [[node.id, [node.answer]]] : [];
    }),
  );
}
