/** Many random runs, in groups that are under way at the same time; each is compared with the reference when its group is over. */
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Client } from "../../src/engine/client/client.ts";
import { LIMIT_MS } from "../support/until.ts";
import { Dice } from "./dice.ts";
import type { EngineRecord, Rows } from "./engine_record.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import { type Behaviour, hangs } from "./model.ts";
import { type Subject, Subjects } from "./subjects.ts";
import { Watch } from "./watch.ts";

const GROUP = 50;
const GROUPS_AT_ONCE = 10;
/** A group that takes longer hangs. Many groups are under way, and the machine may be slow and busy. */
const GROUP_LIMIT_MS = 4 * LIMIT_MS;
const TOLD_IN_FULL = 5;

/** A command that is given to a run some time after it was submitted. */
interface Command {
  kind: "cancel" | "pause" | "resume";
  afterMs: number;
}

interface Commanded extends Subject {
  commands: Command[];
}

export interface CampaignOptions {
  seed: number;
  /** Handlers take their time, and some runs are given commands. */
  rough: boolean;
}

export class Campaign {
  readonly disagreements: string[] = [];
  compared = 0;
  readonly #rough: boolean;
  readonly #seed: number;
  readonly #dice: Dice;
  readonly #watch = new Watch();
  /** Runs that are given commands: they take longer, so that there is something to command. */
  readonly #commanded = new Set<string>();

  constructor({ seed, rough }: CampaignOptions) {
    this.#seed = seed;
    this.#rough = rough;
    this.#dice = new Dice(seed + 2);
  }

  /** The handlers of a worker. */
  handlers(worker: string): Record<string, unknown> {
    return this.#watch.handlers(worker, async ({ runId, params }) => {
      const { behaviour } = params as { behaviour: Behaviour };
      const lasts = this.#rough ? this.#durationIn(runId) : 0;
      if (lasts > 0 && !hangs(behaviour)) await sleep(lasts);
    });
  }

  /** `onProgress`: a group is over. */
  async run(
    engine: { client: Client; database: Rows },
    runs: number,
    onProgress: () => void = () => {},
  ): Promise<void> {
    const subjects = new Subjects(engine.client, engine.database, this.#seed + 3);
    const samples = fc.sample(simulatedCase(), { numRuns: runs, seed: this.#seed });
    const groups: SimulatedCase[][] = [];
    for (let first = 0; first < runs; first += GROUP) groups.push(samples.slice(first, first + GROUP));
    const runGroups = async (): Promise<void> => {
      for (let group = groups.shift(); group; group = groups.shift()) {
        await this.#runGroup(engine.client, subjects, group);
        onProgress();
      }
    };
    try {
      await Promise.all(Array.from({ length: GROUPS_AT_ONCE }, runGroups));
    } finally {
      await subjects.end();
    }
  }

  async #runGroup(client: Client, subjects: Subjects, samples: readonly SimulatedCase[]): Promise<void> {
    const group: Commanded[] = [];
    const given: Promise<void>[] = [];
    for (const sample of samples) {
      const subject = await this.#submit(subjects, sample);
      group.push(subject);
      given.push(this.#command(client, subject));
    }
    await Promise.all(given);
    const runIds = group.map(({ runId }) => runId);
    const ended = await client.waitAll(runIds, { pollMs: 500, signal: AbortSignal.timeout(GROUP_LIMIT_MS) });
    const hanging = runIds.length - Object.values(ended).reduce((total, count) => total + count, 0);
    if (hanging > 0) this.disagreements.push(`${hanging} runs hang`);
    for (const { subject, record, found } of await subjects.compare(group, this.#watch)) {
      this.compared += 1;
      if (found.length > 0) this.#report(subject, record, found);
    }
  }

  async #submit(subjects: Subjects, sample: SimulatedCase): Promise<Commanded> {
    const commands = this.#rough ? this.#drawCommands(sample.workflow.max_parallel_nodes !== undefined) : [];
    const subject = await subjects.submit(sample);
    if (commands.length > 0) this.#commanded.add(subject.runId);
    return { ...subject, commands };
  }

  #durationIn(runId: string): number {
    if (this.#commanded.has(runId)) return this.#dice.between(30, 150);
    if (this.#dice.chance(0.5)) return 0;
    return this.#dice.chance(0.05) ? this.#dice.between(100, 700) : this.#dice.between(1, 30);
  }

  #drawCommands(limited: boolean): Command[] {
    const first = this.#dice.between(0, 60);
    if (this.#dice.chance(limited ? 0.3 : 0.12)) return [{ kind: "cancel", afterMs: first }];
    if (!this.#dice.chance(0.1)) return [];
    const kind = this.#dice.chance(0.2) ? "cancel" : "resume";
    return [
      { kind: "pause", afterMs: first },
      { kind, afterMs: first + this.#dice.between(0, 400) },
    ];
  }

  /** Gives a run its commands. One that comes too late is refused, which is right. */
  async #command(client: Client, { runId, commands }: Commanded): Promise<void> {
    const from = Date.now();
    for (const { kind, afterMs } of commands) {
      await sleep(Math.max(0, from + afterMs - Date.now()));
      await client[kind](runId).catch((error: { code?: string }) => {
        if (error.code !== "RUN_FINAL") throw error;
      });
    }
  }

  #report(subject: Commanded, { record, events }: EngineRecord, found: readonly string[]): void {
    this.disagreements.push(`run ${subject.runId}: ${found.join("; ")}`);
    if (this.disagreements.length > TOLD_IN_FULL) return;
    const { workflow, input, behaviours, commands } = subject;
    const told = events.map(({ seq, event_type, node_id, scope, attempt, delivery }) =>
      [seq, event_type, node_id === null ? "" : `${node_id}@${scope}`, attempt, delivery].join(" ").trim(),
    );
    const all = JSON.stringify({ told, workflow, input, behaviours, commands, record });
    process.stdout.write(`${found.join("\n")}\n${all.slice(0, TOLD_CHARACTERS)}\n`);
  }
}

const TOLD_CHARACTERS = Number(process.env.HITZERO_SIMULATION_TOLD ?? 6_000);
