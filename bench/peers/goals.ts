/** What hitzero is to reach beside the peers. */
import type { Goal } from "../goals.ts";
import { PARTS, type Work } from "./engine.ts";
import { type Comparison, rateOf } from "./report.ts";

/** Ratios of rates: at least, and the aim. */
const RATES: readonly { work: Work; peer: string; least: number; aim?: number }[] = [
  { work: "chain", peer: "bullmq_flows", least: 4, aim: 6 },
  { work: "chain", peer: "bullmq_by_hand", least: 2 },
  { work: "chain", peer: "dbos", least: 15 },
  { work: "chain", peer: "restate", least: 6 },
  { work: "fan", peer: "bullmq_flows", least: 3.5, aim: 5.5 },
  { work: "single", peer: "bullmq_flows", least: 0.8, aim: 1.1 },
  { work: "single", peer: "dbos", least: 10 },
];
const HOPS = { p50_ms: 0.5, p99_ms: 1.5 } as const;
const HOP_PEERS = ["bullmq_flows", "bullmq_by_hand"];
const CPU_US_PER_CHAIN_STEP = { most: 43, aim: 32 };

const WORK_NAMES: Record<Work, string> = { chain: "chains", fan: "1 → 50 → 1", single: "one-step runs" };

/** Those that can be told from what was measured. */
export function goalsOf(comparison: Comparison): Goal[] {
  const { throughput, hops, engines } = comparison;
  const titleOf = (name: string) => engines.find((engine) => engine.name === name)?.title ?? name;
  const sampleOf = (work: Work, engine: string) =>
    throughput.find((one) => one.work === work && one.engine === engine);
  const rates = RATES.flatMap(({ work, peer, least, aim }): Goal[] => {
    const [own, other] = [sampleOf(work, "hitzero"), sampleOf(work, peer)];
    if (!own || !other) return [];
    return [
      {
        what: `${WORK_NAMES[work]}: rate against ${titleOf(peer)}`,
        found: rateOf(own).median / rateOf(other).median,
        ...{ bound: { least }, unit: " ×" },
        ...(aim === undefined ? {} : { aim }),
      },
    ];
  });
  const ownHop = hops.find(({ engine }) => engine === "hitzero");
  const latencies = HOP_PEERS.flatMap((peer) => {
    const other = hops.find(({ engine }) => engine === peer);
    if (!ownHop || !other) return [];
    return (["p50_ms", "p99_ms"] as const).map(
      (of): Goal => ({
        what: `hop, idle: ${of.slice(0, 3)} against ${titleOf(peer)}, ${ownHop.series} series`,
        found: ownHop[of].median / other[of].median,
        ...{ bound: { most: HOPS[of] }, unit: " ×" },
      }),
    );
  });
  const chain = sampleOf("chain", "hitzero");
  const cpu = PARTS.map((part) => chain?.cpu_us_per_step[part]?.median);
  if (!chain || cpu.every((us) => us === undefined)) return [...rates, ...latencies];
  const { most, aim } = CPU_US_PER_CHAIN_STEP;
  const found = cpu.reduce<number>((sum, us) => sum + (us ?? 0), 0);
  return [
    ...rates,
    ...latencies,
    { what: "CPU of a chain step, all processes", found, bound: { most }, aim, unit: " µs" },
  ];
}
