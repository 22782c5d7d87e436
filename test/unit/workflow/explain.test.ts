import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { explain } from "../../../src/workflow/compile/explain.ts";
import { loop, map, workflowWith } from "./documents.ts";

const controlFlow = compile(
  JSON.parse(readFileSync(new URL("control_flow.json", import.meta.url), "utf8")),
).ir;

describe("explain", () => {
  it("tells levels, bodies, joins, withdrawals, compensations, semaphores and guards", () => {
    const { bodies, joins, cancel_regions, ...rest } = explain(controlFlow);
    expect(rest).toEqual({
      levels: [
        ["start"],
        ["reserve", "poll"],
        ["pause", "approve", "late"],
        ["again"],
        ["each", "give_up"],
        ["price", "mail"],
        ["bill", "mail.item", "end"],
      ],
      terminals: ["end"],
      compensations: [
        { node: "reserve", function_name: "release" },
        { node: "bill", function_name: "refund" },
      ],
      semaphores: [{ name: "database", permits: 2, held_by: ["poll"] }],
      guards: [{ node: "mail", unless: ["give_up"] }],
    });
    expect(joins).toEqual([{ node: "end", rule: { quorum: 2 }, fan_in: 4, early: true }]);
    expect(cancel_regions.map(({ node, when }) => `${node} ${when}`)).toEqual([
      "approve event",
      "late event",
      "end fire",
    ]);
    expect(bodies.map(({ kind, node, nodes }) => `${kind} ${node}: ${nodes}`)).toEqual([
      "loop again: poll,pause,again",
      "map each: price,bill",
      "map mail: mail.item",
    ]);
    expect(bodies[0]?.loop).toEqual({
      max_iterations: 5,
      condition: "loop.iteration < 2 || !data.done",
      break: ["each"],
      timeout: ["give_up"],
    });
    expect(bodies[1]?.map).toMatchObject({ max_concurrency: 10, tolerated_failures: 1 });
  });

  it("nests bodies", () => {
    const inner = workflowWith("x l", "x>l", [loop("l", "x")]);
    const { bodies } = explain(
      compile(workflowWith("a m o", "a>m m>o", [map("m", inner), loop("o", "a")])).ir,
    );
    expect(bodies).toMatchObject([
      { node: "o", bodies: [{ node: "m", nodes: [], bodies: [{ node: "l" }] }] },
    ]);
  });
});
