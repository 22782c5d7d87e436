import pc from "picocolors";
import { expect, test } from "vitest";
import { graphMermaid, graphOf, graphText } from "../../../src/cli/run/graph.ts";
import type { NodeExecutionRow } from "../../../src/postgres/runs.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";

const { ir } = compile({
  name: "wide",
  nodes: [
    { id: "start", type: "parallel" },
    ...Array.from({ length: 12 }, (_, index) => ({ id: `branch_${index}`, type: "parallel" })),
  ],
  edges: Array.from({ length: 12 }, (_, index) => ({ from: "start", to: `branch_${index}` })),
});

test("many edges of a node share lines that fit", () => {
  const lines = graphText(graphOf(ir, null), pc.createColors(false), 60).split("\n");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60);
  expect(lines.slice(0, 6)).toEqual([
    "wide",
    "level 0",
    "  ● start      parallel",
    "     └→ branch_0, branch_1, branch_2, branch_3, branch_4,",
    "        branch_5, branch_6, branch_7, branch_8, branch_9,",
    "        branch_10, branch_11",
  ]);
});

test("conditions cannot break out of a Mermaid label", () => {
  const graph = graphOf(ir, 1);
  const condition = "data == \"]|\n<script>\" && `x` != '#' || data < 1";
  const drawn = graphMermaid({
    ...graph,
    edges: [{ from: "start", to: "branch_0", on: "always", condition, kind: "flow" }],
  });
  const edge = drawn.split("\n").find((line) => line.includes("-->")) ?? "";
  const label = /^ {2}n0 -->\|"(.*)"\| n\d+$/.exec(edge)?.[1] ?? "";
  expect(label).toMatch(/^always: data == #34;#93;#124; #60;script#62;#34; #38;#38; #96;x#96; #33;= /);
  expect(label).not.toMatch(/["<>|[\]]/);
});

const bodies = compile({
  name: "bodies",
  nodes: [
    { id: "book", type: "function", config: { function_name: "f" }, compensate_with: { function_name: "g" } },
    {
      id: "each",
      type: "map",
      config: {
        items: "[1]",
        body: {
          nodes: [
            { id: "work", type: "parallel" },
            {
              id: "again",
              type: "loop",
              config: { loop_back_to: "work", condition: "data.more", max_iterations: 3 },
            },
          ],
          edges: [{ from: "work", to: "again" }],
        },
      },
    },
    { id: "poll", type: "parallel" },
    {
      id: "until",
      type: "loop",
      config: { loop_back_to: "poll", condition: "data.more", break_path: "done", max_iterations: 5 },
    },
    { id: "done", type: "parallel" },
  ],
  edges: [
    { from: "book", to: "each" },
    { from: "each", to: "poll" },
    { from: "poll", to: "until" },
    { from: "until", to: "done" },
  ],
}).ir;

test("bodies are blocks of their own, with the way back and what undoes a node", () => {
  expect(graphText(graphOf(bodies, null), pc.createColors(false), 80).split("\n")).toEqual([
    "bodies",
    "level 0",
    "  ● book             function",
    "     ├→ each",
    "     └→ book.compensate  undoes it",
    "  ● book.compensate  function",
    "level 1",
    "  ● each             map",
    "     ├→ work  for each item",
    "     └→ poll",
    "  each item of each",
    "    loop again",
    "      ● work             parallel",
    "         └→ again",
    "      ● again            loop",
    "         └→ work  once more if data.more",
    "level 2",
    "  loop until",
    "    ● poll             parallel",
    "       └→ until",
    "    ● until            loop",
    "       ├→ poll  once more if data.more",
    "       └→ done  when it ends",
    "level 4",
    "  ● done             parallel",
  ]);
  const drawn = graphMermaid(graphOf(bodies, null));
  expect(drawn).toContain(
    [
      '  subgraph b1["each item of each"]',
      '    subgraph b3["loop again"]',
      '      n2["work<br/>parallel"]',
      '      n3["again<br/>loop"]',
      "    end",
      "  end",
      '  subgraph b5["loop until"]',
    ].join("\n"),
  );
  expect(drawn).toContain('n5 -->|"once more: data.more"| n4');
  expect(drawn).toContain('n1 -.->|"for each item"| n2');
});

test("statuses count all executions of a node; what did not have to be undone is left out", () => {
  const row = (node_id: string, scope: string, status: string) =>
    ({ node_id, scope, status, reason: null, error: null, duration_ms: 5 }) as NodeExecutionRow;
  const nodes = [
    row("book", "", "COMPLETED"),
    row("work", "each:0/again:1", "COMPLETED"),
    row("work", "each:1/again:1", "FAILED"),
    row("each", "", "WAITING"),
  ];
  const graph = graphOf(bodies, 1, { run_id: "r", status: "RUNNING", nodes });
  const found = Object.fromEntries(
    graph.nodes.map(({ id, status, executions }) => [id, [status, executions]]),
  );
  expect(found).toEqual({
    book: ["COMPLETED", { COMPLETED: 1 }],
    each: ["WAITING", { WAITING: 1 }],
    work: ["FAILED", { COMPLETED: 1, FAILED: 1 }],
    again: ["PENDING", {}],
    poll: ["PENDING", {}],
    until: ["PENDING", {}],
    done: ["PENDING", {}],
  });
  expect(graphText(graph, pc.createColors(false), 80)).toMatch(
    /work +parallel {2}FAILED {2}1 COMPLETED, 1 FAILED; the first: each:1/,
  );
  expect(graphMermaid(graph)).toContain('["work<br/>parallel<br/>1 COMPLETED, 1 FAILED"]:::failed');
});
