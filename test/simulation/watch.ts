/** What the handlers of a simulation did, beside what the record says of them. */
import type { RecordedEvent } from "./engine_record.ts";

interface Call {
  runId: string;
  nodeId: string;
  attempt: number;
  worker: string;
}

interface Observed {
  /** Calls at work, by node. */
  atWork: Map<string, number>;
  /** The most nodes that ever were at work at once. */
  most: number;
  /** Workers that performed a try, with repetitions. */
  tries: Map<string, string[]>;
}

export class Watch {
  readonly #runs = new Map<string, Observed>();

  /** A handler begins; the answer is to be called when it ends. */
  begin({ runId, nodeId, attempt, worker }: Call): () => void {
    const run = this.#runs.get(runId) ?? { atWork: new Map(), most: 0, tries: new Map() };
    this.#runs.set(runId, run);
    const { atWork, tries } = run;
    atWork.set(nodeId, (atWork.get(nodeId) ?? 0) + 1);
    run.most = Math.max(run.most, atWork.size);
    const key = `attempt ${attempt} of ${nodeId}`;
    tries.set(key, [...(tries.get(key) ?? []), worker]);
    return () => {
      const left = (atWork.get(nodeId) ?? 1) - 1;
      if (left > 0) atWork.set(nodeId, left);
      else atWork.delete(nodeId);
    };
  }

  /**
   * A try is performed by one worker, and by another only after that one was given up, which the record tells. A run keeps to its limit
   * of executions at once, except that a try that was performed twice may outlive its permit.
   */
  faultsOf(runId: string, limit = Number.POSITIVE_INFINITY, events: readonly RecordedEvent[] = []): string[] {
    const run = this.#runs.get(runId);
    if (!run) return [];
    const repeated = this.repeatedTries(runId).length > 0;
    const shared = [...run.tries].flatMap(([tried, workers]) => {
      const redelivered = events.filter(
        (event) =>
          event.event_type === "node_redelivered" && tried === `attempt ${event.attempt} of ${event.node_id}`,
      ).length;
      const distinct = new Set(workers).size;
      if (distinct <= 1 + redelivered) return [];
      return [`${tried} was performed by ${distinct} workers, though ${redelivered} were given up`];
    });
    if (run.most <= limit || repeated) return shared;
    return [...shared, `${run.most} executions were at work at once, expected at most ${limit}`];
  }

  /** Tries of a run that were performed more than once. */
  repeatedTries(runId: string): string[] {
    const tries = [...(this.#runs.get(runId)?.tries ?? [])];
    return tries.filter(([, workers]) => workers.length > 1).map(([tried]) => tried);
  }
}
