/** What the reference says of rules, waiting, withdrawal, compensation and guards. */
import { describe, expect, it } from "vitest";
import { echo, fail, field, joined, link, literal, output, run, statuses, workflow } from "./cases.ts";
import type { Expression } from "./expression.ts";
import type { SimulatedNode, TriggerRule } from "./model.ts";
import { createGame } from "./reference.ts";

describe("the rules", () => {
  /** What becomes of a join of three whose arrivals are taken, not taken and failed as told. */
  function joinOf(rule: TriggerRule, arrivals: string): string {
    const ids = [...arrivals].map((_kind, index) => `N${index}`);
    const untaken = [...arrivals].map((kind) => (kind === "n" ? { condition: literal(false) } : {}));
    const behaviours = Object.fromEntries(
      ids.map((id, index) => [id, arrivals[index] === "f" ? fail : echo]),
    );
    const edges = ids.map((id, index) => link(`${id}>J`, untaken[index]));
    const { status, reason } = run(workflow([...ids, joined("J", rule)], edges), behaviours).nodes.J!;
    return reason?.kind ?? status;
  }
  const [fires, failed, none] = ["COMPLETED", "upstream_failed", "not_taken"];
  it.each<[TriggerRule, Record<string, string | undefined>]>([
    ["none_failed_min_one_success", { ttt: fires, tnn: fires, nnn: none, ttf: failed, nnf: failed }],
    ["all_success", { ttt: fires, ttn: none, nnn: none, ttf: failed, fff: failed }],
    ["none_failed", { ttt: fires, tnn: fires, nnn: fires, ttf: failed, fff: failed }],
    ["all_done", { ttt: fires, nnn: fires, fff: fires, tnf: fires }],
    ["one_success", { tff: fires, tnn: fires, nnn: none, nnf: failed, fff: failed }],
    [{ quorum: 2 }, { ttt: fires, ttf: fires, tnn: none, tnf: failed, nnn: none, fff: failed }],
    ["one_failed", { ttf: fires, fff: fires, ttt: none, nnn: none, nnf: fires }],
    ["all_failed", { fff: fires, ffn: none, fft: none, ttt: none, nnn: none }],
  ])("%j decides as the table says", (rule, table) => {
    for (const [arrivals, outcome] of Object.entries(table))
      expect([arrivals, joinOf(rule, arrivals)]).toEqual([arrivals, outcome]);
  });

  it("fire early where they may, on the taken arrivals that are in, and skip only when all are in", () => {
    const of = (rule: TriggerRule) => workflow(["A", "B", "C", joined("J", rule)], ["A>J", "B>J", "C>J"]);
    const quorum = createGame(of({ quorum: 2 }), {});
    quorum.resolve("C", echo);
    expect(quorum.enabled()).toEqual(["A", "B"]);
    quorum.resolve("A", echo);
    expect(quorum.enabled()).toEqual(["B", "J"]);
    expect(quorum.resolve("J", echo).from_nodes).toEqual(["A", "C"]);
    const failing = createGame(of("one_failed"), {});
    failing.resolve("A", output(1));
    failing.resolve("B", fail);
    expect(failing.resolve("J", echo)).toMatchObject({ output: { A: 1 }, from_nodes: ["A"] });
    failing.resolve("C", echo);
    expect(failing.result()).toMatchObject({ status: "FAILED", error: { node_id: "B" } });
    const late = createGame(of({ quorum: 2 }), {});
    late.resolve("A", fail);
    late.resolve("B", fail);
    expect(late.result().nodes.J).toBeUndefined();
  });
});

describe("waiting", () => {
  const signal = (more: object = {}): SimulatedNode =>
    ({ id: "S", type: "signal", name: "go", answer: { x: 1 }, ...more }) as SimulatedNode;

  it("a wait gives its data on, a signal its payload, an approval who and when besides", () => {
    expect(run(workflow(["A", { id: "W", type: "wait", duration_ms: 5 }], ["A>W"])).output).toBe("A");
    expect(run(workflow([signal()], [])).output).toEqual({ x: 1 });
    const game = createGame(workflow([signal({ type: "approval" })], []), {});
    game.wait("S");
    expect(game.signal({ ...given, payload: { x: 2 }, by: "ann", at: "noon" })).toBe("taken");
    expect(game.resolve("S").output).toEqual({ x: 2, by: "ann", at: "noon" });
  });

  const given = { name: "go", scope: null, payload: { x: 1 }, by: null, at: "" };

  it("a signal that comes early is kept for who waits next, unless it is transient", () => {
    const kept = createGame(workflow([signal()], []), {});
    expect(kept.signal({ ...given, payload: "early" })).toBe("kept");
    kept.wait("S");
    expect(kept.resolve("S").output).toBe("early");
    const dropped = createGame(workflow([signal({ transient: true })], []), {});
    expect(dropped.signal(given)).toBe("dropped");
    dropped.wait("S");
    expect(dropped.resolve("S").error).toMatchObject({ code: "SIGNAL_TIMED_OUT" });
  });

  it("a signal goes to who has waited longest, or to the scope that it names", () => {
    const two: Expression = { kind: "list", items: [literal(1), literal(2)] };
    const of = workflow([{ id: "M", type: "map", items: two, body: { nodes: [signal()], edges: [] } }], []);
    const game = createGame(of, {});
    for (const key of ["S@M:1", "S@M:0"]) game.wait(key);
    expect(game.signal({ ...given, scope: "M:2" })).toBe("kept");
    for (const [payload, scope] of [
      ["first", null],
      ["second", "M:0"],
    ] as const)
      game.signal({ ...given, payload, scope });
    for (const key of ["S@M:0", "S@M:1"]) game.resolve(key);
    expect(game.resolve("M").output).toEqual(["second", "first"]);
  });

  it("an execution that took a signal before its deadline is not too late", () => {
    const late = { error: { code: "SIGNAL_TIMED_OUT", message: "too late" } };
    const game = createGame(workflow([signal({ deadline_ms: 5 })], []), {});
    game.wait("S");
    game.signal(given);
    expect(game.resolve("S", undefined, late).status).toBe("COMPLETED");
  });

  it("a wait until an instant gives its data on; what is no instant fails it", () => {
    const until = (of: SimulatedNode & { type: "wait" }) => run(workflow(["A", of], ["A>W"])).nodes.W!;
    const wait = (value: string | Expression) => until({ id: "W", type: "wait", until: value });
    expect(wait("2026-01-01T00:00:00+01:00")).toMatchObject({
      output: "A",
      not_before: Date.parse("2025-12-31T23:00:00Z"),
    });
    expect(wait(literal("2026-01-01T00:00:00Z")).output).toBe("A");
    for (const none of ["2026-01-01", "soon", "5"])
      expect(wait(literal(none)).error).toMatchObject({ code: "WAIT_NOT_A_TIME" });
    expect(wait(field("data")).error).toMatchObject({ code: "WAIT_NOT_A_TIME" });
    expect(wait(field("data", "at")).status).toBe("FAILED");
  });

  it("a signal that nobody gives times out, by a failure edge", () => {
    const of = workflow([signal({ answer: null, deadline_ms: 5 }), "H"], [link("S>H", { on: "failure" })]);
    expect(statuses(run(of))).toBe("H:COMPLETED S:FAILED");
    expect(run(of).nodes.S!.error).toMatchObject({ code: "SIGNAL_TIMED_OUT" });
  });

  it("a signal with a deadline may be too late; one without may not", () => {
    const late = { error: { code: "SIGNAL_TIMED_OUT", message: "too late" } };
    const resolve = (node: SimulatedNode) =>
      createGame(workflow([node], []), {}).resolve("S", undefined, late).status;
    expect([resolve(signal({ deadline_ms: 5 })), resolve(signal())]).toEqual(["FAILED", "COMPLETED"]);
  });

  const child = { ...workflow(["C"], []), name: "child" };
  const parent = workflow(["A", { id: "P", type: "subworkflow", workflow: child }, "Z"], ["A>P", "P>Z"]);

  it("a sub-workflow has the data for its input unless told otherwise, and gives the child's output", () => {
    expect(run(parent, { C: echo }).nodes.P!.output).toBe("A");
    const given: SimulatedNode = {
      id: "P",
      type: "subworkflow",
      workflow: child,
      input: { a: field("data") },
    };
    expect(run(workflow(["A", given], ["A>P"]), { C: echo }).output).toEqual({ a: "A" });
  });

  it("a sub-workflow fails as its child failed or was cancelled", () => {
    expect(run(parent, { C: fail }).error).toMatchObject({ code: "CHILD_FAILED", node_id: "P" });
    const game = createGame(parent, {});
    game.resolve("A", echo);
    const told = { child: { status: "CANCELLED", output: null } };
    expect(game.resolve("P", undefined, told).error).toMatchObject({ code: "CHILD_CANCELLED" });
  });
});

describe("withdrawal", () => {
  const fork = (more: Partial<SimulatedNode>) =>
    workflow(
      ["A", { id: "K", type: "function", ...more } as SimulatedNode, "X", joined("Y", "all_done"), "Z"],
      ["A>K", "A>X", "X>Y", "K>Z"],
    );

  it("takes back what is active when the node completes; its edges are not taken", () => {
    const result = run(fork({ cancels: ["X"] }), {}, ["A", "K"]);
    expect(statuses(result)).toBe("A:COMPLETED K:COMPLETED X:CANCELLED(withdrawn) Y:COMPLETED Z:COMPLETED");
    expect(result.nodes.X!.reason).toEqual({ kind: "withdrawn", node: "K" });
    expect(result.status).toBe("COMPLETED");
  });

  it("comes after the node's own arrivals, in topological order; * is all others", () => {
    expect(statuses(run(fork({ cancels: ["*"] }), {}, ["A", "K"]))).toBe(
      "A:COMPLETED K:COMPLETED X:CANCELLED(withdrawn) Y:CANCELLED(withdrawn) Z:CANCELLED(withdrawn)",
    );
  });

  it("leaves alone what is over or not yet activated, and does not come from a failure", () => {
    expect(statuses(run(fork({ cancels: ["X", "Y"] }), {}, ["A", "X", "Y", "K"]))).toBe(
      "A:COMPLETED K:COMPLETED X:COMPLETED Y:COMPLETED Z:COMPLETED",
    );
    expect(run(fork({ cancels: ["X"] }), { K: fail }, ["A", "K"]).nodes.X!.status).toBe("COMPLETED");
  });

  it("takes a loop's whole body for its loop node, and a map's items with the map", () => {
    const of = workflow(
      [
        "A",
        { id: "K", type: "function", cancels: ["L", "M"] },
        "X",
        { id: "L", type: "loop", loop_back_to: "X" },
        {
          id: "M",
          type: "map",
          items: { kind: "list", items: [literal(1)] },
          body: { nodes: [{ id: "I", type: "function" }], edges: [] },
        },
      ],
      ["A>K", "A>X", "X>L", "A>M"],
    );
    expect(statuses(run(of, {}, ["A", "K"]))).toBe(
      "A:COMPLETED I@M:0:CANCELLED(withdrawn) K:COMPLETED L@L:1:SKIPPED(not_taken) M:CANCELLED(withdrawn) X@L:1:CANCELLED(withdrawn)",
    );
  });

  it("happens for events when they arrive: the first one wins", () => {
    const of = workflow(
      [
        { id: "S", type: "signal", name: "s", answer: {}, cancels: ["T"] },
        { id: "T", type: "wait", duration_ms: 5, cancels: ["S"] },
      ],
      [],
    );
    const game = createGame(of, {});
    expect(game.wake("T")).toBe(true);
    expect(game.result().nodes.S).toMatchObject({ status: "CANCELLED" });
    game.resolve("T");
    expect(statuses(game.result())).toBe("S:CANCELLED(withdrawn) T:COMPLETED");
  });

  it("may be over before another was active, if the event's node was active first", () => {
    const withdrawing = { type: "wait", duration_ms: 5 } as const;
    const other: SimulatedNode = { id: "T", ...withdrawing, cancels: ["B"] };
    const first = createGame(workflow([other, "A", "B"], ["A>B"]), {});
    first.resolve("A", echo);
    expect(first.resolve("T", undefined, { unnoticed: true }).status).toBe("COMPLETED");
    expect(first.enabled()).toEqual(["B"]);
    const second = createGame(workflow(["B", other], []), {});
    second.resolve("T", undefined, { unnoticed: true });
    expect(second.enabled()).toEqual([]);
  });

  it("does not come from a signal that timed out", () => {
    const of = workflow(
      [{ id: "S", type: "signal", name: "s", answer: null, deadline_ms: 5, cancels: ["B"] }, "B"],
      [],
    );
    expect(run(of).nodes.B!.status).toBe("COMPLETED");
  });

  it("of the rest: what leads to the join alone goes as soon as it fires", () => {
    const join: SimulatedNode = { id: "J", type: "function", trigger_rule: { quorum: 1 }, cancel_rest: true };
    const of = workflow(
      ["A", "X", "Y", "Z", "O", join, "E"],
      ["A>X", "A>Y", "X>J", "Y>Z", "Z>J", "A>O", "O>J", "O>E"],
    );
    expect(statuses(run(of, {}, ["A", "X"]))).toBe(
      "A:COMPLETED E:COMPLETED J:COMPLETED O:COMPLETED X:COMPLETED Y:CANCELLED(withdrawn) Z:SKIPPED(not_taken)",
    );
  });

  it("by a node comes before that by the join that it made fire", () => {
    const join: SimulatedNode = { id: "J", type: "function", trigger_rule: { quorum: 1 }, cancel_rest: true };
    const of = workflow(
      ["A", { id: "X", type: "function", cancels: ["Y"] }, "Y", "Z", join],
      ["A>X", "A>Y", "A>Z", "X>J", "Y>J", "Z>J"],
    );
    const { nodes } = run(of, {}, ["A", "X"]);
    expect([nodes.Y!.reason, nodes.Z!.reason]).toEqual([
      { kind: "withdrawn", node: "X" },
      { kind: "withdrawn", node: "J" },
    ]);
  });
});

describe("compensation", () => {
  const undo = (id: string): SimulatedNode => ({ id, type: "function", compensated: true });
  const of = workflow([undo("A"), undo("B"), "C", undo("D")], ["A>B", "B>C", "C>D"]);

  it("undoes completed executions in reverse when the run fails, with their outputs; the run stays as it was", () => {
    const game = createGame(of, {});
    game.resolve("A", output("a"));
    game.resolve("B", echo);
    game.resolve("C", fail);
    expect(game.enabled()).toEqual(["B.compensate"]);
    expect(game.result().status).toBe("RUNNING");
    expect(game.resolve("B.compensate", fail).status).toBe("FAILED");
    expect(game.resolve("A.compensate", echo)).toMatchObject({ output: "a", scope: "" });
    expect(game.result()).toMatchObject({ status: "FAILED", error: { node_id: "C" } });
  });

  it("is not for a run that completed; it is for one that was cancelled", () => {
    expect(Object.keys(run(of).nodes)).toEqual(["A", "B", "C", "D"]);
    const game = createGame(of, {});
    game.resolve("A", echo);
    game.cancel();
    game.withdraw("B", echo);
    expect(game.enabled()).toEqual(["A.compensate"]);
    game.resolve("A.compensate", echo);
    expect(game.result().status).toBe("CANCELLED");
  });

  it("is of a cancelled run, too, when the cancel comes before items are withdrawn that a failed map left behind", () => {
    const failing = () => {
      const game = createGame(of, {});
      game.resolve("A", echo);
      game.resolve("B", fail);
      expect(game.enabled()).toEqual(["A.compensate"]);
      return game;
    };
    const [late, early] = [failing(), failing()];
    expect([late.cancel(), early.cancel(true)]).toEqual([true, true]);
    for (const game of [late, early]) game.resolve("A.compensate", echo);
    expect([late.result().status, early.result().status]).toEqual(["FAILED", "CANCELLED"]);
  });

  it("happens at the scope of the original", () => {
    const loop: SimulatedNode = { id: "L", type: "loop", loop_back_to: "A", max_iterations: 2 };
    const result = run(workflow([undo("A"), loop], ["A>L"]));
    expect(Object.keys(result.nodes).slice(-2)).toEqual(["A.compensate@L:2", "A.compensate@L:1"]);
  });
});

describe("unless", () => {
  const of = workflow(["A", "X", { id: "G", type: "function", unless: ["X"] }, "Z"], ["A>G", "G>Z"]);

  it("skips what would begin after another completed; its edges are not taken", () => {
    expect(statuses(run(of, {}, ["X"]))).toBe(
      "A:COMPLETED G:SKIPPED(unless) X:COMPLETED Z:SKIPPED(not_taken)",
    );
    expect(run(of, {}, ["X"]).nodes.G).toMatchObject({ reason: { kind: "unless", node: "X" }, attempts: 0 });
  });

  it("does nothing when the other failed, or has not completed yet", () => {
    expect(run(of, { X: fail }, ["X"]).nodes.G!.status).toBe("COMPLETED");
    expect(run(of, {}, ["A", "G"]).nodes.G!.status).toBe("COMPLETED");
  });

  it("leaves open what becomes of an execution that was ready before", () => {
    const game = createGame(of, {});
    game.resolve("A", echo);
    expect(game.skipUnless("G")).toBe(false);
    game.resolve("X", echo);
    expect(game.resolve("G", echo).status).toBe("COMPLETED");
    const other = createGame(of, {});
    other.resolve("A", echo);
    other.resolve("X", echo);
    expect(other.skipUnless("G")).toBe(true);
    expect(other.result().nodes.Z!.reason).toEqual({ kind: "not_taken" });
  });
});
