import { describe, expect, it } from "vitest";
import {
  atLeast,
  echo,
  fail,
  field,
  joined,
  link,
  literal,
  missing,
  output,
  run,
  statuses,
  workflow,
} from "./cases.ts";
import type { Expression, Json, Reference } from "./expression.ts";
import type { SimulatedEdge, SimulatedNode, SimulatedWorkflow } from "./model.ts";
import { createGame, type GameResult } from "./reference.ts";

describe("data", () => {
  it("is the run's input for an entry, the output of one predecessor, an object by id of several", () => {
    const result = run(
      workflow(["A", "B", "C", "D"], ["A>B", "A>C", "B>D", "C>D"]),
      { A: echo, D: echo },
      [],
      { x: 1 },
    );
    expect(result.nodes.B!.data).toEqual({ x: 1 });
    expect(result.nodes.D!.output).toEqual({ B: "B", C: "C" });
    expect(result.nodes.D!.from_nodes).toEqual(["B", "C"]);
    expect(result).toMatchObject({ status: "COMPLETED", error: null, output: { B: "B", C: "C" } });
  });

  it("is null when the one predecessor's arrival was not taken", () => {
    const result = run(
      workflow(["A", joined("B", "all_done")], [link("A>B", { condition: literal(false) })]),
      { B: echo },
    );
    expect(result.nodes.B).toMatchObject({ status: "COMPLETED", data: null, output: null, from_nodes: [] });
  });
});

describe("input", () => {
  const given = (of: Expression): SimulatedNode => ({ id: "C", type: "function", given: of });
  const has = (id: string): Expression => ({ kind: "has", of: field("data", id) as Reference });
  const whatCame: Expression = {
    kind: "choose",
    when: has("A"),
    so: field("data", "A"),
    otherwise: field("data", "B"),
  };

  it("replaces what a node was given: for its own work, and for the conditions of its edges", () => {
    const isB: Expression = { kind: "compare", operator: "==", left: field("data"), right: literal("B") };
    const of = workflow(
      ["A", "B", given(whatCame), "D"],
      [link("A>B", { on: "failure" }), "A>C", "B>C", link("C>D", { condition: isB })],
    );
    const result = run(of, { A: fail, C: echo, D: echo });
    expect(result.nodes.C).toMatchObject({ data: "B", output: "B", from_nodes: ["B"] });
    expect(result).toMatchObject({ status: "COMPLETED", output: "B" });
  });

  it("without a value fails the node before it is tried; data then have none for its failure edges either", () => {
    const isNull: Expression = {
      kind: "compare",
      operator: "==",
      left: field("data"),
      right: { kind: "literal", value: null },
    };
    const asked = workflow(
      ["A", given(missing), "D"],
      ["A>C", link("C>D", { on: "failure", condition: isNull })],
    );
    expect(run(asked, { C: echo }).nodes).toMatchObject({
      C: { status: "FAILED", attempts: 1 },
      D: { status: "SKIPPED" },
    });
    const handled = workflow(["A", given(missing), "D"], ["A>C", link("C>D", { on: "failure" })]);
    expect(run(handled, { C: echo })).toMatchObject({ status: "COMPLETED" });
  });

  it("is one value for an aggregate, whoever came before", () => {
    const counts = { id: "C", type: "aggregate", operation: "count", given: literal(7) } as const;
    expect(run(workflow(["A", "B", counts], ["A>C", "B>C"])).output).toBe(1);
  });
});

describe("the default rule", () => {
  it("waits for all arrivals", () => {
    const game = createGame(workflow(["A", "B", "C"], ["A>C", "B>C"]), {});
    expect(game.enabled()).toEqual(["A", "B"]);
    game.resolve("B", echo);
    expect(game.enabled()).toEqual(["A"]);
    game.resolve("A", echo);
    expect(game.enabled()).toEqual(["C"]);
    expect(game.result().status).toBe("RUNNING");
  });

  it("fires a join behind an exclusive branch with the branch that ran", () => {
    const branches = workflow(
      ["A", { id: "C", type: "conditional" }, "X", "Y", "J"],
      [
        "A>C",
        link("C>X", { condition: atLeast(80) }),
        link("C>Y", { condition: { ...atLeast(80), operator: "<" } as Expression }),
        "X>J",
        "Y>J",
      ],
    );
    const high = run(branches, { A: output({ score: 91 }), J: echo });
    expect(statuses(high)).toBe("A:COMPLETED C:COMPLETED J:COMPLETED X:COMPLETED Y:SKIPPED(not_taken)");
    expect(high.output).toEqual({ X: "X" });
    expect(high.nodes.C!.output).toEqual({ score: 91 });
    const low = run(branches, { A: output({ score: 9 }), J: echo });
    expect(statuses(low)).toBe("A:COMPLETED C:COMPLETED J:COMPLETED X:SKIPPED(not_taken) Y:COMPLETED");
  });

  it("skips as not_taken when nothing was taken, all the way down", () => {
    const result = run(workflow(["A", "B", "C"], [link("A>B", { condition: literal(false) }), "B>C"]));
    expect(statuses(result)).toBe("A:COMPLETED B:SKIPPED(not_taken) C:SKIPPED(not_taken)");
    expect(result).toMatchObject({ status: "COMPLETED", output: "A" });
  });

  it("isolates a failure: downstream is skipped by name, the independent branch goes on", () => {
    const result = run(workflow(["A", "B", "C", "D", "E", "F"], ["A>B", "B>C", "A>D", "D>E", "C>F", "E>F"]), {
      B: fail,
    });
    expect(statuses(result)).toBe(
      "A:COMPLETED B:FAILED C:SKIPPED(upstream_failed B) D:COMPLETED E:COMPLETED F:SKIPPED(upstream_failed B)",
    );
    expect(result.error).toEqual({ code: "BOOM", message: "as told", node_id: "B" });
    expect(result).toMatchObject({ status: "FAILED", output: null });
  });

  it("names the failure behind the lowest edge index, whichever came first", () => {
    const two = workflow(["A", "B", "J"], ["B>J", "A>J"]);
    for (const order of [
      ["A", "B"],
      ["B", "A"],
    ]) {
      const result = run(two, { A: fail, B: fail }, order);
      expect(result.nodes.J!.reason).toEqual({ kind: "upstream_failed", node: "B" });
      expect(result.error!.node_id).toBe(order[0]);
    }
  });

  it("waits for all arrivals before it skips", () => {
    const game = createGame(workflow(["A", "B", "J"], ["A>J", "B>J"]), {});
    game.resolve("A", fail);
    expect(game.result().nodes.J).toBeUndefined();
    game.resolve("B", echo);
    expect(game.result().nodes.J).toMatchObject({ status: "SKIPPED", move: 2 });
  });
});

describe("all_done", () => {
  it("runs whatever happened, on the arrivals taken, and handles nothing", () => {
    const result = run(
      workflow(
        ["A", "B", "C", joined("J", "all_done")],
        ["A>J", "B>J", link("C>J", { condition: literal(false) })],
      ),
      { B: fail, J: echo },
    );
    expect(statuses(result)).toBe("A:COMPLETED B:FAILED C:COMPLETED J:COMPLETED");
    expect(result.nodes.J!.output).toEqual({ A: "A" });
    expect(result.status).toBe("FAILED");
  });

  it("runs after nothing but failures, on nothing", () => {
    const result = run(workflow(["A", "B", joined("J", "all_done")], ["A>J", "B>J"]), {
      A: fail,
      B: fail,
      J: echo,
    });
    expect(result.nodes.J).toMatchObject({ status: "COMPLETED", output: {}, from_nodes: [] });
  });
});

describe("one_success", () => {
  const race = workflow(["A", "B", joined("J", "one_success")], ["A>J", "B>J"]);

  it("fires on the first taken arrival and sees no later one", () => {
    const game = createGame(race, {});
    game.resolve("B", output("b"));
    expect(game.enabled()).toEqual(["A", "J"]);
    game.resolve("A", output("a"));
    expect(game.resolve("J", echo)).toMatchObject({ output: { B: "b" }, from_nodes: ["B"] });
  });

  it("absorbs a late failure, which stays unhandled", () => {
    const result = run(race, { A: fail }, ["B", "A", "J"]);
    expect(statuses(result)).toBe("A:FAILED B:COMPLETED J:COMPLETED");
    expect(result.status).toBe("FAILED");
  });

  it("skips only when all are in: upstream_failed if any failed, else not_taken", () => {
    const game = createGame(race, {});
    game.resolve("A", fail);
    expect(game.result().nodes.J).toBeUndefined();
    game.resolve("B", fail);
    expect(game.result().nodes.J!.reason).toEqual({ kind: "upstream_failed", node: "A" });
    const none = { condition: literal(false) };
    const untaken = run(
      workflow(["A", "B", joined("J", "one_success")], [link("A>J", none), link("B>J", none)]),
    );
    expect(untaken.nodes.J!.reason).toEqual({ kind: "not_taken" });
  });

  it("may have fired on a lagging arrival that is in, on no other", () => {
    const game = createGame(race, {});
    game.resolve("A", output("a"));
    expect(game.fireOn("J", "B")).toBe(false);
    game.resolve("B", output("b"));
    expect(game.fireOn("J", "B")).toBe(true);
    expect(game.dataOf("J")).toEqual({ B: "b" });
  });
});

describe("failure routing", () => {
  const handler = workflow(["A", "B", "H"], ["A>B", link("A>H", { on: "failure" })]);

  it("handles a failure by a failure edge: success edges are not taken, the handler sees the error", () => {
    const result = run(handler, { A: fail, H: echo });
    expect(statuses(result)).toBe("A:FAILED B:SKIPPED(not_taken) H:COMPLETED");
    expect(result.nodes.H!.output).toEqual({ error: { code: "BOOM", message: "as told" } });
    expect(result).toMatchObject({ status: "COMPLETED", error: null });
  });

  it("does not take a failure edge after success", () => {
    expect(statuses(run(handler))).toBe("A:COMPLETED B:COMPLETED H:SKIPPED(not_taken)");
  });

  it("takes an always edge after either; after a failure it handles", () => {
    const always = workflow(["A", "B", "H"], ["A>B", link("A>H", { on: "always" })]);
    expect(statuses(run(always))).toBe("A:COMPLETED B:COMPLETED H:COMPLETED");
    const failed = run(always, { A: fail });
    expect(statuses(failed)).toBe("A:FAILED B:SKIPPED(not_taken) H:COMPLETED");
    expect(failed.status).toBe("COMPLETED");
  });

  it("is unhandled when no condition takes a failure edge: every edge carries the failure", () => {
    const isOther: Expression = {
      kind: "compare",
      operator: "==",
      left: field("error", "code"),
      right: literal("OTHER"),
    };
    const conditional = workflow(
      ["A", "B", "H"],
      ["A>B", link("A>H", { on: "failure", condition: isOther })],
    );
    const result = run(conditional, { A: fail });
    expect(statuses(result)).toBe("A:FAILED B:SKIPPED(upstream_failed A) H:SKIPPED(upstream_failed A)");
    expect(result.status).toBe("FAILED");
  });

  it("takes the failure edge whose condition names the error; an untaken one beside it is not_taken", () => {
    const codeIs = (code: string): Expression => ({
      kind: "compare",
      operator: "==",
      left: field("error", "code"),
      right: literal(code),
    });
    const two = workflow(
      ["A", "H", "I"],
      [
        link("A>H", { on: "failure", condition: codeIs("BOOM") }),
        link("A>I", { on: "failure", condition: codeIs("OTHER") }),
      ],
    );
    expect(statuses(run(two, { A: fail }))).toBe("A:FAILED H:COMPLETED I:SKIPPED(not_taken)");
  });

  it("counts an error in a failure edge's condition as not taken", () => {
    const broken = workflow(["A", "H"], [link("A>H", { on: "failure", condition: missing })]);
    expect(statuses(run(broken, { A: fail }))).toBe("A:FAILED H:SKIPPED(upstream_failed A)");
  });

  it("a node skipped as upstream_failed passes failed on success and always edges, not_taken on failure edges", () => {
    const result = run(
      workflow(
        ["A", "B", "C", "D", "E"],
        ["A>B", "B>C", link("B>D", { on: "always" }), link("B>E", { on: "failure" })],
      ),
      { A: fail },
    );
    expect(statuses(result)).toBe(
      "A:FAILED B:SKIPPED(upstream_failed A) C:SKIPPED(upstream_failed A) D:SKIPPED(upstream_failed A) E:SKIPPED(not_taken)",
    );
  });

  it("a node skipped as not_taken passes not_taken on all edges", () => {
    const result = run(
      workflow(
        ["A", "B", "D", "E"],
        [
          link("A>B", { condition: literal(false) }),
          link("B>D", { on: "always" }),
          link("B>E", { on: "failure" }),
        ],
      ),
    );
    expect(statuses(result)).toBe(
      "A:COMPLETED B:SKIPPED(not_taken) D:SKIPPED(not_taken) E:SKIPPED(not_taken)",
    );
  });
});

describe("conditions", () => {
  it("let each edge of an ordinary node decide for itself", () => {
    const result = run(
      workflow(
        ["A", "B", "C", "D"],
        [link("A>B", { condition: atLeast(5) }), link("A>C", { condition: atLeast(9) }), "A>D"],
      ),
      { A: output({ score: 7 }) },
    );
    expect(statuses(result)).toBe("A:COMPLETED B:COMPLETED C:SKIPPED(not_taken) D:COMPLETED");
  });

  it.each([
    ["names a missing field", missing],
    ["is not a bool", field("output", "score")],
  ])("fail the node when one %s, with no output", (_what, condition) => {
    const result = run(workflow(["A", "B", "C"], [link("A>B", { condition }), "A>C"]), {
      A: output({ score: 7 }),
    });
    expect(statuses(result)).toBe("A:FAILED B:SKIPPED(upstream_failed A) C:SKIPPED(upstream_failed A)");
    expect(result.nodes.A).toMatchObject({ output: null, error: { code: "CONDITION_FAILED" } });
    expect(result.error).toMatchObject({ code: "CONDITION_FAILED", node_id: "A" });
  });

  it("that fail are handled like any failure", () => {
    const result = run(
      workflow(["A", "B", "H"], [link("A>B", { condition: missing }), link("A>H", { on: "failure" })]),
      { H: echo },
    );
    expect(statuses(result)).toBe("A:FAILED B:SKIPPED(not_taken) H:COMPLETED");
    expect(result.nodes.H!.output).toMatchObject({ error: { code: "CONDITION_FAILED" } });
  });

  it("see ancestors' outputs, null for one that did not complete", () => {
    const seen: SimulatedNode = {
      id: "T",
      type: "transform",
      trigger_rule: "all_done",
      expression: {
        kind: "list",
        items: [
          { kind: "node", id: "A", path: [] },
          { kind: "node", id: "B", path: [] },
        ],
      },
    };
    expect(run(workflow(["A", "B", seen], ["A>T", "B>T"]), { B: fail }).nodes.T!.output).toEqual(["A", null]);
  });
});

describe("a conditional", () => {
  const of = (mode: "first" | "all" | undefined, edges: SimulatedEdge[]): SimulatedWorkflow =>
    workflow(
      ["A", { id: "C", type: "conditional", ...(mode && { mode }) }, "X", "Y", "Z"],
      ["A>C", ...edges],
    );
  const scored = { A: output({ score: 7 }) };
  const ran = (result: GameResult): string[] =>
    ["X", "Y", "Z"].filter((id) => result.nodes[id]!.status === "COMPLETED");

  it("takes the first match by priority, then file order", () => {
    const matching = { condition: atLeast(5) };
    const byPriority = [
      link("C>X", { ...matching, priority: 2 }),
      link("C>Y", { ...matching, priority: 1 }),
      link("C>Z"),
    ];
    expect(ran(run(of(undefined, byPriority), scored))).toEqual(["Y"]);
    const byOrder = [link("C>X", { condition: atLeast(8) }), link("C>Y", matching), link("C>Z", matching)];
    expect(ran(run(of("first", byOrder), scored))).toEqual(["Y"]);
  });

  it("takes every match with mode all", () => {
    const edges = [
      link("C>X", { condition: atLeast(5) }),
      link("C>Y", { condition: atLeast(6) }),
      link("C>Z"),
    ];
    expect(ran(run(of("all", edges), scored))).toEqual(["X", "Y"]);
  });

  it("takes its default only when nothing matched, wherever it stands", () => {
    const edges = [
      link("C>Z", { priority: 0 }),
      link("C>X", { condition: atLeast(8), priority: 1 }),
      link("C>Y", { condition: atLeast(9) }),
    ];
    expect(ran(run(of("first", edges), scored))).toEqual(["Z"]);
    expect(ran(run(of("all", edges), scored))).toEqual(["Z"]);
  });

  it("takes nothing without match and default", () => {
    const result = run(
      of("first", [
        link("C>X", { condition: atLeast(8) }),
        link("C>Y", { condition: atLeast(9) }),
        link("C>Z", { condition: atLeast(9) }),
      ]),
      scored,
    );
    expect(statuses(result)).toBe(
      "A:COMPLETED C:COMPLETED X:SKIPPED(not_taken) Y:SKIPPED(not_taken) Z:SKIPPED(not_taken)",
    );
    expect(result.status).toBe("COMPLETED");
  });

  it("stops at the first match: what stands behind it cannot fail it; with mode all it can", () => {
    const edges = [link("C>X", { condition: atLeast(5) }), link("C>Y", { condition: missing }), link("C>Z")];
    expect(ran(run(of("first", edges), scored))).toEqual(["X"]);
    expect(run(of("all", edges), scored).nodes.C!.status).toBe("FAILED");
  });

  it("lets its always edges decide for themselves", () => {
    const edges = [link("C>X", { condition: atLeast(5) }), link("C>Y"), link("C>Z", { on: "always" })];
    expect(ran(run(of("first", edges), scored))).toEqual(["X", "Z"]);
  });
});

describe("node types", () => {
  /** Output or error code of a last node behind functions with these outputs. */
  function last(node: SimulatedNode, ...outputs: Json[]): Json {
    const ids = outputs.map((_, index) => `N${index}`);
    const behaviours = Object.fromEntries(ids.map((id, index) => [id, output(outputs[index]!)]));
    const result = run(
      workflow(
        [...ids, node],
        ids.map((id) => `${id}>${node.id}`),
      ),
      behaviours,
    );
    return result.nodes[node.id]!.error?.code ?? result.nodes[node.id]!.output;
  }
  const sum = (extra: { field?: string } = {}): SimulatedNode => ({
    id: "L",
    type: "aggregate",
    operation: "sum",
    ...extra,
  });
  const by = (operation: "avg" | "min" | "max" | "count"): SimulatedNode => ({
    id: "L",
    type: "aggregate",
    operation,
  });
  const strategy = (name: "merge" | "union" | "concat"): SimulatedNode => ({
    id: "L",
    type: "aggregate",
    strategy: name,
  });

  it("filter keeps items, refuses what is no list, fails on an item without verdict", () => {
    const over: Expression = { kind: "compare", operator: ">", left: field("item"), right: literal(2) };
    const filter: SimulatedNode = { id: "L", type: "filter", filter_expression: over };
    expect(last(filter, [1, 3, 2, 4])).toEqual([3, 4]);
    expect(last(filter, { items: [] })).toBe("FILTER_NOT_A_LIST");
    expect(last(filter, [3, "x"])).toBe("NOT_FIXED");
  });

  it("transform gives its expression's value or fails", () => {
    const transform = (expression: Expression): SimulatedNode => ({ id: "L", type: "transform", expression });
    expect(
      last(transform({ kind: "add", left: field("data", "score"), right: literal(1) }), { score: 2 }),
    ).toBe(3);
    expect(last(transform(field("data", "missing")), { score: 2 })).toBe("NOT_FIXED");
    const more = transform({ kind: "add", left: field("data", "score"), right: literal(1) });
    expect(last(more, { score: Number.MAX_SAFE_INTEGER })).toBe("NOT_FIXED");
  });

  it("aggregate reduces a list, or several outputs with lists opened", () => {
    expect(last(sum(), [1, 2, 3])).toBe(6);
    expect(last(sum(), 1, [2, 3])).toBe(6);
    expect(last(sum({ field: "a.b" }), { a: { b: 4 } }, [{ a: { b: 5 } }])).toBe(9);
    expect(last(by("avg"), [1, 2])).toBe(1.5);
    expect(last(by("min"), [3, 1, 2])).toBe(1);
    expect(last(by("max"), [3, 1, 2])).toBe(3);
    expect(last(by("count"), 1, [2, [3]])).toBe(3);
    expect(last(sum(), [Number.MAX_SAFE_INTEGER, -1])).toBe(Number.MAX_SAFE_INTEGER - 1);
    expect(last(sum(), [Number.MAX_SAFE_INTEGER, 1])).toBe("OUTPUT_NOT_JSON");
    expect(last(sum(), [1, "2"])).toBe("AGGREGATE_NOT_A_NUMBER");
    expect(last(sum({ field: "x" }), [{ x: 1 }, {}])).toBe("AGGREGATE_NOT_A_NUMBER");
  });

  it("aggregate of nothing: sum and count 0, the others null", () => {
    expect([
      last(sum(), []),
      last(by("count"), []),
      last(by("avg"), []),
      last(by("min"), []),
      last(by("max"), []),
    ]).toEqual([0, 0, null, null, null]);
  });

  it("aggregate merges with later keys winning, unites by first sight, concatenates", () => {
    expect(last(strategy("merge"), { a: 1, b: 1 }, { b: 2 })).toEqual({ a: 1, b: 2 });
    expect(last(strategy("union"), [3, { a: 1, b: 2 }], [{ b: 2, a: 1 }, 3, 4])).toEqual([
      3,
      { a: 1, b: 2 },
      4,
    ]);
    expect(last(strategy("concat"), [1], 2, [[3]])).toEqual([1, 2, [3]]);
    expect(last(strategy("merge"), 1, {})).toBe("NOT_FIXED");
  });

  it("aggregate coalesces to the output that came, of several to that of the first edge, of none to null", () => {
    const first: SimulatedNode = {
      id: "J",
      type: "aggregate",
      strategy: "coalesce",
      trigger_rule: "all_done",
    };
    const of = (...edges: (string | SimulatedEdge)[]) =>
      run(workflow(["A", "B", first], edges)).nodes.J!.output;
    const never = { condition: literal(false) };
    expect(of("B>J", "A>J")).toBe("B");
    expect(of(link("B>J", never), "A>J")).toBe("A");
    expect(of(link("B>J", never), link("A>J", never))).toEqual(null);
  });

  it("aggregate takes several outputs in the order of the file's edges, not of its nodes", () => {
    const reversed = workflow(["B", "A", strategy("concat")], ["A>L", "B>L"]);
    expect(run(reversed).output).toEqual(["A", "B"]);
  });

  it("a function that throws or returns what it should not fails with a code, or its value is read as JSON", () => {
    const tried = (what: string): Json[] => {
      const node = { id: "A", type: "function", retry: { max_attempts: 3, backoff_ms: 1 } } as const;
      const {
        output: given,
        error,
        attempts,
      } = run(workflow([node], []), { A: { kind: "hostile", what } }).nodes.A!;
      return [error?.code ?? given, attempts];
    };
    expect(tried("throws undefined")).toEqual(["HANDLER_ERROR", 3]);
    expect(tried("throws a code")).toEqual(["NO_QUOTA", 3]);
    expect(tried("throws a RetryAfterError of NaN")).toEqual(["RETRY_AFTER", 3]);
    expect(tried("returns a revoked proxy")).toEqual(["HANDLER_ERROR", 3]);
    expect(tried("returns half an emoji")).toEqual(["OUTPUT_NOT_JSON", 1]);
    expect(tried("returns a list 100,000 deep")).toEqual(["OUTPUT_TOO_DEEP", 1]);
    expect(tried("returns undefined")).toEqual([null, 1]);
  });

  it("parallel gives its data on", () => {
    expect(last({ id: "L", type: "parallel" }, { a: 1 })).toEqual({ a: 1 });
  });
});

describe("the run's output", () => {
  it("is the one terminal's output, or an object of the completed ones", () => {
    expect(run(workflow(["A", "B"], ["A>B"])).output).toBe("B");
    const two = workflow(["A", "B", "C"], ["A>B", link("A>C", { condition: literal(false) })]);
    expect(run(two).output).toEqual({ B: "B" });
  });

  it("is that of a node that took none of its edges, too", () => {
    const alarmed = workflow(["A", "B", "C"], ["A>B", link("B>C", { on: "failure" })]);
    expect(run(alarmed).output).toBe("B");
    expect(run(alarmed, { B: fail }).output).toBe("C");
    const both = workflow(["A", "B", "C"], ["A>C", link("B>C", { condition: literal(false) })]);
    expect(run(both).output).toEqual({ B: "B", C: "C" });
  });

  it("is the workflow's expression if it has one, and null for a failed run", () => {
    const named: SimulatedWorkflow = {
      ...workflow(["A", "B"], ["A>B"]),
      output: { kind: "node", id: "A", path: [] },
    };
    expect(run(named).output).toBe("A");
    expect(run(named, { B: fail })).toMatchObject({ status: "FAILED", output: null });
  });
});

it("resolves no node that is not enabled", () => {
  const game = createGame(workflow(["A", "B"], ["A>B"]), {});
  expect(() => game.resolve("B", echo)).toThrow("B is not enabled");
  game.resolve("A", echo);
  expect(() => game.resolve("A", echo)).toThrow("A is not enabled");
});
