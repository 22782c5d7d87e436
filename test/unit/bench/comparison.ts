/** A comparison that nobody measured. */
import type { Comparison } from "../../../bench/peers/report.ts";
import { spreadOf } from "../../../bench/statistics.ts";

export const exact = (value: number) => spreadOf([value]);

export function comparison(): Comparison {
  const throughput = (engine: string, work: "chain" | "single", perSecond: number) => ({
    ...{ engine, work, runs: 100, steps: work === "chain" ? 1_000 : 100 },
    ...{ seconds: exact(1), submit_seconds: exact(0.5) },
    steps_per_second: spreadOf([perSecond - 10, perSecond, perSecond + 10]),
    runs_per_second: spreadOf([perSecond - 10, perSecond, perSecond + 10]),
    cpu_us_per_step: {
      ...{ redis: exact(10), postgres: exact(20), worker: exact(30) },
      ...{ server: engine === "hitzero" ? exact(40) : null, submitter: null },
    },
  });
  const hop = (engine: string, ms: number) => ({
    ...{ engine, series: 3, hops: 9, p50_ms: exact(ms), p99_ms: exact(2 * ms) },
    ...{ ping_p50_ms: exact(0.1), ping_p99_ms: exact(0.3) },
  });
  return {
    surroundings: {
      ...{ hitzero: "0.1.0", node: "v20", system: "linux", cpu: "Intel <x>", cpus: 2, memory_mb: 4_000 },
      ...{ load_before: 0.1, on_disk: true },
      redis: { version: "7.0.15", appendfsync: "everysec" },
      postgres: { server_version: "17", fsync: "on", synchronous_commit: "on" },
    },
    plan: {
      ...{ samples: 3, workers: 1, concurrency: 32, quick: false },
      ...{ sampleSeconds: 4, latencyRuns: 1 },
    },
    engines: [
      { name: "hitzero", title: "hitzero", version: "0.1.0" },
      { name: "bullmq_flows", title: "BullMQ flows", version: "6.7.0" },
      { name: "bullmq_by_hand", title: "BullMQ by hand", version: "6.7.0" },
    ],
    missing: [{ name: "restate", reason: "there is no restate-server for sunos" }],
    failed: [{ name: "dbos", during: "one-step runs", reason: "it ended (1): out of\nconnections" }],
    throughput: [
      throughput("hitzero", "chain", 4_000),
      throughput("bullmq_flows", "chain", 1_000),
      throughput("hitzero", "single", 500),
      throughput("bullmq_flows", "single", 1_000),
    ],
    hops: [hop("hitzero", 0.5), hop("bullmq_flows", 0.25)],
    open_loop: {
      capacity: exact(400),
      loads: [
        {
          ...{ share: 0.5, runs_per_second: 200, runs: 2_000, p50_ms: exact(8), p99_ms: exact(20) },
          merged_ms: { p50: 8, p90: 12, p99: 20, p999: 31, max: 40 },
          histogram: "",
        },
      ],
    },
    idle_cpu: { hitzero: 0.01, bullmq_flows: 0 },
  };
}
