/** Brings simulated cases to an engine: registers them with the workflows that they start, submits them, gives their signals. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../src/engine/client.ts";
import { compareRecord } from "./compare.ts";
import { Dice } from "./dice.ts";
import { type EngineRecord, type Rows, readRecords } from "./engine_record.ts";
import type { JsonObject } from "./expression.ts";
import type { SimulatedCase } from "./generator.ts";
import { ANSWERED_BY, allNodes, childrenOf } from "./model.ts";
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
  /** By run and node: the answers to those that wait, in its child runs too. */
  readonly #answers = new Map<string, Map<string, JsonObject>>();
  /** Executions that were given their signal: a command is never lost. */
  readonly #answered = new Set<string>();
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
    const { workflow, behaviours, input } = simulated;
    const children = childrenOf(workflow);
    const name = (own: string): string => (own === workflow.name ? own : `${own}${suffix}`);
    for (const child of children) await this.#client.register(renderFile(child, behaviours, name));
    const registered = await this.#client.register(renderFile(workflow, behaviours, name));
    const { runIds } = await this.#client.submit(registered, { input });
    const runId = runIds[0] as string;
    const answers = answersOf(simulated);
    if (answers.size > 0) this.#answers.set(runId, answers);
    for (const node of workflow.nodes)
      if ((node.type === "signal" || node.type === "approval") && this.#dice.chance(0.3))
        await this.#give({ run_id: runId, node_id: node.id, scope: "" }, runId, this.#dice.chance(0.5));
    return { ...simulated, runId };
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
    for (const row of rows as (Waiting & { root: string })[]) {
      const name = [row.run_id, row.node_id, row.scope].join(" ");
      if (this.#answered.has(name)) continue;
      await this.#give(row, row.root, true);
      this.#answered.add(name);
    }
  }

  async #give({ run_id, node_id, scope }: Waiting, root: string, toScope: boolean): Promise<void> {
    const payload = this.#answers.get(root)?.get(node_id);
    if (payload === undefined) return;
    const content = { name: `signal-${node_id}`, payload, by: ANSWERED_BY, ...(toScope ? { scope } : {}) };
    await this.#client.signal(run_id, content).catch((error: { code?: string }) => {
      if (error.code !== "RUN_FINAL") throw error;
    });
  }

  /** What disagrees in these runs, which are over, with the reference. */
  async compare<T extends Subject>(
    subjects: readonly T[],
    watch?: Watch,
  ): Promise<{ subject: T; record: EngineRecord; found: string[] }[]> {
    const records = await readRecords(
      this.#database,
      subjects.map(({ runId }) => runId),
    );
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
}

function answersOf({ workflow }: SimulatedCase): Map<string, JsonObject> {
  const nodes = [workflow, ...childrenOf(workflow)].flatMap(allNodes);
  return new Map(
    nodes.flatMap((node): [string, JsonObject][] =>
      (node.type === "signal" || node.type === "approval") && node.answer !== null
        ? [[node.id, node.answer]]
        : [],
    ),
  );
}
