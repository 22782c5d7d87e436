/** Figures get to their places in the documentation. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { figuresOf, withFigures } from "../../../bench/docs.ts";
import type { Large } from "../../../bench/large.ts";
import type { Results } from "../../../bench/measure.ts";
import type { Throughput } from "../../../bench/throughput.ts";
import { comparison, exact } from "./comparison.ts";

const PAGE = readFileSync("docs/performance.md", "utf8");

/** Each process takes so many µs per step. */
function throughput(name: string, us: number): Throughput {
  const cpu = { redis: us, postgres: us, workers: us, supervisor: us, driver: us };
  return {
    ...{ name, title: `runs of ${name}`, runs: 10, steps: 100, seconds: exact(1), submit_seconds: exact(1) },
    ...{ steps_per_second: exact(1_000), runs_per_second: exact(100) },
    cpu_us_per_step: Object.fromEntries(
      Object.entries(cpu).map(([process, each]) => [process, exact(each)]),
    ) as Throughput["cpu_us_per_step"],
    bytes_per_step: {
      ...{ redis_received: exact(300), redis_sent: exact(200), redis_append_only_file: exact(900) },
      ...{ postgres_write_ahead_log: exact(450), postgres_tables: exact(400) },
    },
    ...{ redis_commands_per_step: {}, counted: [] },
  };
}

function results(more: Partial<Results>): Results {
  const { surroundings } = comparison();
  const plan = { samples: 3, workers: 1, concurrency: 32 } as Results["plan"];
  return {
    ...{ surroundings, plan, throughput: [], latency: [], sizes: null, payload: [] },
    ...{ total: { runs: 0, node_executions: 0, events: 0 }, limits: null, large: null },
    ...more,
  };
}

const payload = {
  ...{ title: "outputs of 1 KB", nodes: 100, definition_bytes: 200_000, input_bytes: 100_000 },
  ...{ output_bytes: 1_000, redis_received: exact(400_000), redis_sent: exact(300_000) },
  redis_both: exact(700_000),
};
const large: Large = {
  small: throughput("small", 10),
  cases: [
    {
      ...{ title: "beside 100,000 open runs", measured: throughput("open", 14), ratio: 1.4 },
      ratios: { redis: 1.2, postgres: 2, workers: 1, supervisor: 1, driver: null },
    },
  ],
};

test("every figure has its place, and what was not measured keeps what is there", () => {
  const figures = figuresOf({
    peers: comparison(),
    bench: results({ throughput: [throughput("chain", 8), throughput("map-small", 16)], payload: [payload] }),
    large: results({ large }),
  });
  expect(Object.keys(figures)).toEqual(["peers", "open loop", "cost", "payload", "large", "goals"]);
  const page = withFigures(PAGE, figures);
  for (const figure of Object.values(figures)) expect(page).toContain(figure);
  // Once more, and they are replaced.
  expect(withFigures(page, figures)).toBe(page);
  expect(figures.goals?.split("\n").slice(2)).toEqual([
    "| chains: rate against BullMQ flows | 4.00 × | ≥ 4 × | 6 × | reached |",
    "| one-step runs: rate against BullMQ flows | 0.50 × | ≥ 0.8 × | 1.1 × | **missed** |",
    "| hop, idle: p50 against BullMQ flows, 3 series | 2.00 × | ≤ 0.5 × |  | **missed** |",
    "| hop, idle: p99 against BullMQ flows, 3 series | 2.00 × | ≤ 1.5 × |  | **missed** |",
    "| CPU of a chain step, all processes | 100 µs | ≤ 43 µs | 32 µs | **missed** |",
    "| CPU of a step of a map of 100 items, against a chain's | 2.00 × | ≤ 1.6 × | 1.3 × | **missed** |",
    "| append-only file of a chain step | 900 B | ≤ 800 B | 700 B | **missed** |",
    "| write-ahead log of a chain step | 450 B | ≤ 500 B | 427 B | reached |",
    "| through Redis: 100 nodes in a row, outputs of 1 KB | 700 KB | ≤ 1,000 KB |  | reached |",
    "| CPU of a step, beside 100,000 open runs, against the small case | 1.40 × | ≤ 1.3 × |  | **missed** |",
  ]);
  const only = withFigures(PAGE, figuresOf({ large: results({ large }) }));
  expect(only).toContain(
    "| beside 100,000 open runs, × the small case | 1.20 | 2.00 | 1.00 | 1.00 | – | 1.40 |",
  );
  const place = (name: string) =>
    PAGE.slice(PAGE.indexOf(`<!-- figures: ${name}`), PAGE.indexOf(`<!-- end of ${name}`));
  for (const name of ["peers", "open loop", "cost", "payload"]) expect(only).toContain(place(name));
});

test("a page without the place is refused", () => {
  expect(() => withFigures("# A page", { cost: "1" })).toThrow("there is no place for the figures of cost");
});
