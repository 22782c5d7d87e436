/** What the handlers of a simulation did, beside what the record says of them. */
import type { RecordedEvent } from "./engine_record.ts";
import { simulated } from "./handlers.ts";
import { allNodes, type SimulatedWorkflow } from "./model.ts";
import { idIn, keyOf } from "./reference_scopes.ts";

type Call = Parameters<typeof simulated>[0] & { runId: string; nodeId: string; scope: string };

interface Observed {
  /** Calls at work, by the key of their execution. */
  atWork: Map<string, number>;
  /** What was at work at once: keys, whenever one came. */
  moments: string[][];
  /** Workers that performed a try, with repetitions. */
  tries: Map<string, string[]>;
}

export class Watch {
  readonly #runs = new Map<string, Observed>();

  /** The handlers of a worker, in view. `work`: what they do before they answer. */
  handlers(worker: string, work: (call: Call) => Promise<unknown> = async () => {}): Record<string, unknown> {
    return {
      simulated: async (call: Call): Promise<unknown> => {
        const end = this.#begin(call, worker);
        try {
          await work(call);
          return await simulated(call);
        } finally {
          end();
        }
      },
    };
  }

  /** A handler begins; the answer is to be called when it ends. */
  #begin({ runId, nodeId, scope, attempt }: Call, worker: string): () => void {
    const run: Observed = this.#runs.get(runId) ?? { atWork: new Map(), moments: [], tries: new Map() };
    this.#runs.set(runId, run);
    const { atWork, tries } = run;
    const name = keyOf(nodeId, scope);
    atWork.set(name, (atWork.get(name) ?? 0) + 1);
    run.moments.push([...atWork.keys()]);
    const key = `attempt ${attempt} of ${name}`;
    tries.set(key, [...(tries.get(key) ?? []), worker]);
    return () => {
      const left = (atWork.get(name) ?? 1) - 1;
      if (left > 0) atWork.set(name, left);
      else atWork.delete(name);
    };
  }

  /**
   * A try is performed by one worker, and by another only after that one was given up, which the record tells. A run keeps to its limit
   * of executions at once, and to the permits of its semaphores, except that a try that was performed twice, or whose execution was
   * withdrawn, may outlive its permit.
   */
  faultsOf(runId: string, workflow: SimulatedWorkflow, events: readonly RecordedEvent[] = []): string[] {
    const run = this.#runs.get(runId);
    if (!run) return [];
    const repeated = this.repeatedTries(runId).length > 0;
    const shared = [...run.tries].flatMap(([tried, workers]) => {
      const redelivered = events.filter(
        (event) =>
          event.event_type === "node_redelivered" &&
          tried === `attempt ${event.attempt} of ${keyOf(event.node_id ?? "", event.scope ?? "")}`,
      ).length;
      const distinct = new Set(workers).size;
      if (distinct <= 1 + redelivered) return [];
      return [`${tried} was performed by ${distinct} workers, though ${redelivered} were given up`];
    });
    const outlived = repeated || events.some(({ event_type }) => event_type === "node_cancelled");
    return outlived ? shared : [...shared, ...excesses(run.moments, workflow)];
  }

  /** Tries of a run that were performed more than once. */
  repeatedTries(runId: string): string[] {
    const tries = [...(this.#runs.get(runId)?.tries ?? [])];
    return tries.filter(([, workers]) => workers.length > 1).map(([tried]) => tried);
  }
}

/** Limits that were not kept to. */
function excesses(moments: readonly string[][], workflow: SimulatedWorkflow): string[] {
  const { max_parallel_nodes: limit = Number.POSITIVE_INFINITY, semaphores = {} } = workflow;
  const holds = new Map(allNodes(workflow).map((node) => [node.id, node.holds ?? []]));
  const most = Math.max(0, ...moments.map((keys) => keys.length));
  const overheld = Object.entries(semaphores).flatMap(([name, permits]) => {
    const held = moments.map((keys) => keys.filter((key) => holds.get(idIn(key))?.includes(name)).length);
    const highest = Math.max(0, ...held);
    return highest > permits
      ? [`${highest} executions held the semaphore ${name} at once, expected at most ${permits}`]
      : [];
  });
  if (most <= limit) return overheld;
  return [...overheld, `${most} executions were at work at once, expected at most ${limit}`];
}
