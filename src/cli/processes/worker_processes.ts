/**
 * `worker --processes N`: one parent that keeps N workers.
 *
 * Owns: the children. A dead one is started again (kept_process.ts); the first signal drains all, the second kills them. When
 * the parent itself is killed its children drain and end.
 */
import { resolve } from "node:path";
import { unlessAborted } from "../../base/wait.ts";
import { plural } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import { hasParent, Lifetime, tellParent } from "../shell/lifetime.ts";
import { KeptProcess, type KeptProcessOptions } from "./kept_process.ts";

interface Flags {
  concurrency: number;
  blockedGraceMs?: number;
}

/** A worker whose drain is over has this long to end. */
const LAST_MOMENTS_MS = 3_000;

/** Runs until a signal. @throws HitzeroError NO_SERVERS, CHILD_NOT_STARTED */
export async function keepWorkers(
  invocation: Invocation<Flags>,
  queues: readonly string[],
  processes: number,
): Promise<number> {
  const { flags, terminal } = invocation;
  const children = childrenOf(invocation, queues, processes);
  const kill = () => {
    for (const child of children) child.kill();
  };
  process.once("exit", kill);
  const lifetime = new Lifetime({ onSecond: kill });
  try {
    const starting = Promise.all(children.map((child) => child.start()));
    const ready = await unlessAborted(starting, lifetime.signal);
    if (ready === undefined) return 0;
    const functions = ready[0]?.functions ?? [];
    const pids = children.map(({ pid }) => pid);
    tellParent({ ready: true, id: ready.map(({ id }) => id).join(" "), functions });
    if (terminal.json && !hasParent()) {
      const { concurrency } = flags;
      const { leaseMs } = invocation.settings();
      terminal.document({
        worker_ids: ready.map(({ id }) => id),
        pids,
        functions,
        queues,
        concurrency,
        lease_ms: leaseMs,
      });
    }
    const what = `${plural(functions.length, "function")}, ${flags.concurrency} at once each`;
    const which = processes === 1 ? `process ${pids[0]}) serves` : `processes ${pids.join(", ")}) serve`;
    terminal.remark(
      `${plural(processes, "worker")} (${which} ${queues.length > 1 ? "queues" : "queue"} ${queues.join(", ")}: ${what}`,
    );
    await lifetime.end;
    terminal.remark("stopping: nodes that run may end (a second signal ends them at once)");
    return 0;
  } finally {
    // A worker ends by itself within its time, unless a handler blocks it.
    const late = setTimeout(kill, invocation.settings().drainTimeoutMs + LAST_MOMENTS_MS);
    await Promise.all(children.map((child) => child.stop()));
    clearTimeout(late);
    process.off("exit", kill);
  }
}

function childrenOf(
  invocation: Invocation<Flags>,
  queues: readonly string[],
  processes: number,
): KeptProcess[] {
  const { concurrency } = invocation.flags;
  return Array.from(
    { length: processes },
    (_, index) =>
      new KeptProcess({ name: `worker ${index + 1}`, ...workerProcess(invocation, queues, concurrency) }),
  );
}

/** A worker of the same settings, as a process. */
export function workerProcess(
  invocation: Invocation<Flags>,
  queues: readonly string[],
  concurrency: number,
): Omit<KeptProcessOptions, "name"> {
  const { terminal } = invocation;
  const { logLevel, blockedGraceMs } = invocation.flags;
  const { redisUrl, databaseUrl, namespace, handlers, leaseMs, drainTimeoutMs } = invocation.servers();
  return {
    args: [
      "worker",
      ...(handlers === undefined ? [] : ["--handlers", resolve(handlers)]),
      ...["--concurrency", String(concurrency), "--queues", queues.join(","), "--lease-ms", String(leaseMs)],
      ...["--drain-timeout-ms", String(drainTimeoutMs)],
      ...(logLevel === undefined ? [] : ["--log-level", logLevel]),
      ...(blockedGraceMs === undefined ? [] : ["--blocked-grace-ms", String(blockedGraceMs)]),
    ],
    env: {
      HITZERO_REDIS_URL: redisUrl,
      HITZERO_DATABASE_URL: databaseUrl,
      HITZERO_NAMESPACE: namespace,
    },
    // Log lines stay JSON for whoever collects them; people see which worker speaks.
    onOutput: (name, line) =>
      terminal.remark(process.stderr.isTTY ? `${terminal.remarkColors.dim(`${name} |`)} ${line}` : line),
    onNotice: (line) => terminal.remark(line),
  };
}
