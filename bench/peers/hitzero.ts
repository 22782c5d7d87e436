/** hitzero beside its peers: the processes of the rig, and this one, which submits and waits for the rows. */
import type { RegisteredWorkflow } from "../../src/engine/client/client.ts";
import { VERSION } from "../../src/engine/version.ts";
import { runOneByOne } from "../latency.ts";
import { Ledger } from "../ledger.ts";
import { checkRecord, type Expected } from "../record_check.ts";
import type { Rig } from "../rig.ts";
import { runAll } from "../throughput.ts";
import { chains, fans, singles, stampedChain, type Workload } from "../workloads.ts";
import { type Engine, type Processes, STEPS, type Taken, WORKS, type Work } from "./engine.ts";

const WORKLOADS: Record<Work, (runs: number) => Workload> = {
  chain: chains,
  fan: (runs) => fans(runs),
  single: singles,
};

/** Nobody looks on while the peers' chains run. */
const HOP_POLL_MS = 20;

interface Prepared {
  workflow: RegisteredWorkflow;
  workload: Workload;
  expected: Expected;
}

export class Hitzero implements Engine {
  readonly name = "hitzero";
  readonly title = "hitzero";
  readonly version = VERSION;
  readonly works = WORKS;
  readonly failed: Promise<never>;
  readonly #rig: Rig;
  readonly #ledger = new Ledger();
  #samples = 0;
  #prepared: Prepared | undefined;
  #stamped: RegisteredWorkflow | undefined;

  constructor(rig: Rig) {
    this.#rig = rig;
    this.failed = rig.failed;
  }

  get processes(): Processes {
    const { workers, supervisor } = this.#rig;
    return {
      worker: workers.map(({ pid }) => pid),
      server: supervisor ? [supervisor.pid] : [],
      submitter: [process.pid],
    };
  }

  async prepare(work: Work, runs: number): Promise<void> {
    const workload = WORKLOADS[work](runs);
    this.#samples += 1;
    const name = `peers-${work}-${this.#samples}`;
    const workflow = await this.#rig.client.register(workload.document(name));
    this.#prepared = { workflow, workload, expected: { runs, steps: runs * STEPS[work] } };
  }

  run(): Promise<Taken> {
    const { workflow, expected } = this.#prepared as Prepared;
    return runAll(this.#rig, workflow, expected.runs);
  }

  /** The history of these runs is counted: a sample that lacks a row has measured nothing. */
  async check(): Promise<void> {
    const { workflow, workload, expected } = this.#prepared as Prepared;
    this.#ledger.add(expected);
    await checkRecord(this.#rig, expected, workflow.workflowName, workload.count);
  }

  async hops(): Promise<number[]> {
    const { document, steps } = stampedChain("handed_over");
    this.#stamped ??= await this.#rig.client.register(document("peers-hop"));
    this.#ledger.add({ runs: 1, steps });
    const { hop } = await runOneByOne(this.#rig, this.#stamped, 1, HOP_POLL_MS);
    return hop;
  }

  /** Counts everything that was submitted here. @throws Error that names what is missing */
  async checkAll(others: { runs: number; steps: number }): Promise<void> {
    this.#ledger.add(others);
    await checkRecord(this.#rig, this.#ledger.total);
  }

  /** The rig is stopped by its owner. */
  async stop(): Promise<void> {}
}
