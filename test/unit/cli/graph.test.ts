import pc from "picocolors";
import { expect, test } from "vitest";
import { graphMermaid, graphOf, graphText } from "../../../src/cli/graph.ts";
import { compile } from "../../../src/workflow/compile.ts";

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
    edges: [{ from: "start", to: "branch_0", on: "always", condition }],
  });
  const edge = drawn.split("\n").find((line) => line.includes("-->")) ?? "";
  const label = /^ {2}n0 -->\|"(.*)"\| n\d+$/.exec(edge)?.[1] ?? "";
  expect(label).toMatch(/^always: data == #34;#93;#124; #60;script#62;#34; #38;#38; #96;x#96; #33;= /);
  expect(label).not.toMatch(/["<>|[\]]/);
});
