/** Does the work go on: partitions, processes, and what waits for whom? */

import { closedHint, FOREIGN_HINT } from "../../postgres/closed_partition.ts";
import type { PartitionHealth, ProcessHealth, WorkHealth } from "../../postgres/health.ts";
import type { Meta } from "../../redis/partition.ts";
import { duration, plural } from "../shell/format.ts";
import { type Check, checksOf } from "./check.ts";

/** Journal entries behind the record; a reader takes some thousands a second. */
const LAGGING = 10_000;
const DEAD_SHOWN = 3;

/** A partition as both servers have it; `meta` undefined: Redis did not answer. */
export interface PartitionView {
  row: PartitionHealth;
  meta: Meta | undefined;
  /** Identity of the Redis that answers. */
  identity: string | undefined;
  /** Of the database. */
  installation: string;
}

/** Partitions with a fault have a line each, the others one together. */
export function partitionChecks(views: readonly PartitionView[]): Check[] {
  const { ok } = checksOf("partitions");
  if (views.length === 0) return [];
  const faults = views.flatMap((view) => partitionFault(view) ?? []);
  const well = views.filter((view) => partitionFault(view) === undefined);
  const good = well.length;
  if (good === 0) return faults;
  const lag = Math.max(...well.map(lagOf));
  const which = faults.length > 0 ? `the other ${good}` : plural(good, "partition");
  const verb = good === 1 ? "is" : "are";
  const record = lag === 0 ? "up to date" : `${plural(lag, "entry", "entries")} behind`;
  return [...faults, ok("open", `${which} ${verb} open and read; the record is ${record}`)];
}

function lagOf({ row, meta }: PartitionView): number {
  return meta?.epoch === String(row.epoch) ? Math.max(0, meta.seq - row.recorded_seq) : 0;
}

function partitionFault(view: PartitionView): Check | undefined {
  const { warn, fail } = checksOf("partitions");
  const { row, meta, identity, installation } = view;
  const name = `partition ${row.partition}`;
  if (row.closed_reason !== null) {
    return fail(name, `${name} is closed: ${row.closed_reason}`, closedHint(row.closed_reason));
  }
  if (meta !== undefined && meta.installation !== null && meta.installation !== installation)
    return fail(name, `Redis holds ${name} of another database (${meta.installation})`, FOREIGN_HINT);
  if (row.reader_id === null)
    return fail(
      name,
      `no supervisor reads ${name}`,
      "Start `npx hitzero supervisor`; its log says what stands in its way.",
    );
  if (meta !== undefined && meta.epoch !== String(row.epoch)) {
    return row.epoch === 0
      ? warn(name, `${name} was never opened`, "Its supervisor is about to; look again in a second.")
      : fail(
          name,
          `Redis does not hold ${name} of epoch ${row.epoch}`,
          "Do HITZERO_REDIS_URL and HITZERO_NAMESPACE name the Redis of this database?",
        );
  }
  if (identity !== undefined && meta?.timeline !== identity)
    return warn(
      name,
      `Redis restarted; ${name} is not open again yet`,
      "Its supervisor is about to; look again in a second.",
    );
  const lag = lagOf(view);
  if (lag < LAGGING) return undefined;
  return warn(
    name,
    `the record of ${name} is ${lag} entries behind`,
    "Is Postgres slow or its disk full? More partitions (of a new database) have more readers.",
  );
}

/** A worker lists what it holds three times a lease, and has done so by then. */
const LISTS_WITHIN_MS = 60_000;

/** `inReach`: workers of which Redis has heard of late; undefined: Redis did not answer. */
export function processChecks(
  processes: readonly ProcessHealth[],
  version: string,
  inReach: ReadonlySet<string> | undefined,
): Check[] {
  const { ok, warn, fail } = checksOf("processes");
  const alive = processes.filter((process) => process.alive);
  const dead = processes.filter((process) => !process.alive);
  const count = (kind: ProcessHealth["kind"]) => alive.filter((process) => process.kind === kind).length;
  const [supervisors, workers] = [count("supervisor"), count("worker")];
  const others = alive.filter((process) => process.version !== version);
  const queues = [...new Set(alive.flatMap((process) => process.queues))].sort();
  const cutOff = alive.filter(
    ({ kind, worker_id, age_ms }) =>
      kind === "worker" && age_ms > LISTS_WITHIN_MS && inReach?.has(worker_id) === false,
  );
  return [
    supervisors > 0
      ? ok(
          "supervisors",
          `${plural(supervisors, "supervisor")} alive${supervisors === 1 ? "; a second one would take over if it dies" : ""}`,
        )
      : fail("supervisors", "no supervisor is alive: nothing is recorded", "Start `npx hitzero supervisor`."),
    workers > 0
      ? ok(
          "workers",
          `${plural(workers, "worker")} alive, for ${queues.length === 1 ? "queue" : "queues"} ${queues.join(", ")}`,
        )
      : fail("workers", "no worker is alive: runs wait", "Start `npx hitzero worker --handlers MODULE`."),
    ...(cutOff.length > 0
      ? [
          fail(
            "reach",
            `${plural(cutOff.length, "live worker")} of which this Redis has not heard for a lease: ${cutOff
              .slice(0, DEAD_SHOWN)
              .map(({ host, pid }) => `${pid} on ${host}`)
              .join(", ")}`,
            "Their logs say what stands in the way. Do they use the Redis and the namespace that doctor looks at?",
          ),
        ]
      : []),
    ...(dead.length > 0
      ? [
          warn(
            "dead",
            `${plural(dead.length, "process", "processes")} died without a word within a day: ${listed(dead)}`,
            "What they held was handed out again. Their logs, or the system's (out of memory?), may say why.",
          ),
        ]
      : []),
    ...(others.length > 0
      ? [
          warn(
            "versions",
            `${plural(others.length, "live process", "live processes")} of another release than ${version}: ${[...new Set(others.map((other) => other.version))].join(", ")}`,
            "Run one release; upgrade supervisors first.",
          ),
        ]
      : []),
  ];
}

function listed(dead: readonly ProcessHealth[]): string {
  const newest = dead.toSorted((left, right) => left.silent_ms - right.silent_ms).slice(0, DEAD_SHOWN);
  const shown = newest.map(
    ({ kind, host, pid, silent_ms }) => `${kind} ${pid} on ${host} (${duration(silent_ms)} ago)`,
  );
  return shown.join(", ") + (dead.length > DEAD_SHOWN ? `, and ${dead.length - DEAD_SHOWN} more` : "");
}

export function workChecks(work: WorkHealth): Check[] {
  const { ok, warn } = checksOf("work");
  const { openDeadLetters, unstarted, unstartedMs, paused, quiet, refused, lastRefused } = work;
  const checks: Check[] = [
    openDeadLetters === 0
      ? ok("dead letters", "no dead letter waits for a decision")
      : warn(
          "dead letters",
          `${plural(openDeadLetters, "dead letter")} ${openDeadLetters === 1 ? "waits" : "wait"} for a decision`,
          "See `npx hitzero dead-letter list`.",
        ),
  ];
  if (unstarted > 0) {
    checks.push(
      warn(
        "unstarted",
        `${plural(unstarted, "run")} accepted more than a minute ago (the oldest ${duration(unstartedMs)}) did not start`,
        "Is each partition open, and a supervisor alive? See the lines above.",
      ),
    );
  }
  if (quiet > 0) {
    checks.push(
      warn(
        "quiet",
        `${plural(quiet, "run")} showed no sign of life for ten minutes`,
        "See `select * from hitzero.v_active_runs`, then `npx hitzero run show RUN_ID`: what waits needs a worker for its queue.",
      ),
    );
  }
  if (refused > 0) {
    checks.push(
      warn(
        "refused",
        `${plural(refused, "run")} failed within a day as something of ${refused === 1 ? "it" : "them"} could not be recorded or applied, the last ${lastRefused}`,
        "See `select * from hitzero.refused_entries`, and report it.",
      ),
    );
  }
  if (paused > 0)
    checks.push(
      ok("paused", `${plural(paused, "run")} paused; \`npx hitzero run resume RUN_ID\` ends a pause`),
    );
  return checks;
}
