import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareRecord, type RecordedNode, type RunRecord, reasonText } from "./compare.ts";
import { ALL_FEATURES } from "./generated_work.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import type { SimulatedWorkflow } from "./model.ts";
import { type Played, play } from "./play.ts";

const picks = fc.array(fc.nat(99), { minLength: 1, maxLength: 14 });

/** What an engine would record of a run played in this order. */
function recordOf({ workflow, input, behaviours }: SimulatedCase, order: readonly number[]): RunRecord {
  let turn = 0;
  const result = play(
    workflow,
    input,
    behaviours,
    (enabled) => enabled[order[turn++ % order.length]! % enabled.length]!,
  );
  return recorded(result);
}

function recorded(result: Played): RunRecord {
  const nodes = Object.entries(result.nodes).map(
    ([, node]): RecordedNode => ({
      node_id: node.node_id,
      scope: node.scope,
      status: node.status,
      attempt: node.attempts,
      retry_count: Math.max(node.attempts - 1, 0),
      reason: node.reason === null ? null : reasonText(node.reason),
      output: node.output,
      error: node.error,
      from_nodes: node.from_nodes,
      resolved_order: node.status === "CANCELLED" && node.attempts === 0 ? null : node.move,
    }),
  );
  const { status, error, output } = result;
  const children = Object.entries(result.children).map(([key, child]) => [key, recorded(child)] as const);
  const { moments } = result;
  const run = { status, error, output, nodes, moments, cancelled_at: null };
  return structuredClone({ ...run, children: Object.fromEntries(children) });
}

const disagreements = (of: SimulatedCase, record: RunRecord): string[] =>
  compareRecord(of.workflow, of.input, of.behaviours, record);

describe("compareRecord over random runs", () => {
  it("agrees with a correct record, in any order, with or without places for skips", () => {
    fc.assert(
      fc.property(simulatedCase({ features: ALL_FEATURES }), picks, fc.boolean(), (sample, order, placed) => {
        const record = recordOf(sample, order);
        if (!placed)
          for (const node of record.nodes)
            if (node.status === "SKIPPED" && !node.reason?.startsWith("unless")) node.resolved_order = null;
        expect(disagreements(sample, record)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it("takes the engine's own wording of what the semantics leave open", () => {
    fc.assert(
      fc.property(simulatedCase({ features: ALL_FEATURES }), (sample) => {
        const wording = { code: "ENGINE_CODE", message: "in the engine's words" };
        const result = play(sample.workflow, sample.input, sample.behaviours, undefined, wording);
        expect(disagreements(sample, recorded(result))).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  const spoil: Record<string, (node: RecordedNode, record: RunRecord) => void> = {
    "another status": (node) => {
      node.status = node.status === "COMPLETED" ? "FAILED" : "COMPLETED";
      node.resolved_order ??= 1;
    },
    "another output": (node) => {
      node.output = { spoiled: true };
    },
    "another reason": (node) => {
      if (node.status === "SKIPPED")
        node.reason = node.reason === "not_taken" ? "upstream_failed: n0" : "not_taken";
      else node.output = "spoiled";
    },
    "another attempt": (node) => {
      node.attempt += 1;
      node.retry_count = node.attempt - 1;
    },
    "another retry_count": (node) => {
      node.retry_count += 1;
    },
    "a node missing": (node, record) => {
      record.nodes.splice(record.nodes.indexOf(node), 1);
      // An item that is not recorded at all may never have begun, where its map ended early.
      fc.pre(node.scope === "" || record.nodes.some(({ scope }) => scope === node.scope));
    },
    "a node twice": (node, record) => {
      record.nodes.push({ ...node });
    },
    "an arrival more": (node) => {
      if (node.status === "SKIPPED") node.status = "CANCELLED";
      else node.from_nodes = [...node.from_nodes, "n99"];
    },
    "another run status": (_node, record) => {
      record.status = record.status === "COMPLETED" ? "FAILED" : "COMPLETED";
    },
    "another run output": (_node, record) => {
      record.output = { spoiled: true };
    },
  };

  it.each(Object.keys(spoil))("disagrees with %s", (what) => {
    fc.assert(
      fc.property(simulatedCase({ features: ALL_FEATURES }), picks, fc.nat(13), (sample, order, pick) => {
        const record = recordOf(sample, order);
        // In a halted run much is legal: see below.
        fc.pre(record.nodes.every(({ status }) => status !== "CANCELLED"));
        spoil[what]!(record.nodes[pick % record.nodes.length]!, record);
        expect(disagreements(sample, record)).not.toEqual([]);
      }),
      { numRuns: 40 },
    );
  });
});

describe("compareRecord in words", () => {
  const race: SimulatedWorkflow = {
    name: "race",
    nodes: [
      { id: "A", type: "function" },
      { id: "B", type: "function" },
      { id: "J", type: "function", trigger_rule: "one_success" },
    ],
    edges: [
      { from: "A", to: "J" },
      { from: "B", to: "J" },
    ],
  };
  const behaviours = {
    A: { kind: "output", value: 1 },
    B: { kind: "output", value: 2 },
    J: { kind: "echo" },
  } as const;
  const firedOnB = (): RunRecord => {
    const record = recorded(play(race, {}, behaviours));
    const last = record.nodes.find((node) => node.node_id === "J")!;
    Object.assign(last, { output: { B: 2 }, from_nodes: ["B"] });
    record.output = { B: 2 };
    return record;
  };

  it("says what is recorded and what was expected", () => {
    expect(compareRecord(race, {}, behaviours, firedOnB())).toContain(
      'output of J is {"B":2}, expected {"A":1}',
    );
  });

  it("lets one_success fire on a later arrival only where arrivals may lag", () => {
    expect(compareRecord(race, {}, behaviours, firedOnB(), { arrivalsMayLag: true })).toEqual([]);
  });

  it("notices a node that ran before its arrivals", () => {
    const record = recorded(play(race, {}, behaviours));
    record.nodes.find((node) => node.node_id === "J")!.resolved_order = 0;
    expect(compareRecord(race, {}, behaviours, record)).toEqual([
      "J is recorded as COMPLETED when it was not ready to run: its arrivals were not in",
    ]);
  });

  it("notices a skip before its cause", () => {
    const chain: SimulatedWorkflow = {
      name: "chain",
      nodes: [
        { id: "A", type: "function" },
        { id: "B", type: "function" },
      ],
      edges: [{ from: "A", to: "B" }],
    };
    const failing = { A: { kind: "fail", code: "BOOM", message: "as told" }, B: { kind: "echo" } } as const;
    const record = recorded(play(chain, {}, failing));
    expect(compareRecord(chain, {}, failing, record)).toEqual([]);
    record.nodes.find((node) => node.node_id === "B")!.resolved_order = 0;
    expect(compareRecord(chain, {}, failing, record)).toEqual([
      "B is recorded as SKIPPED at 0, when it was not: its arrivals were not in",
    ]);
  });

  it.each(["upstream_failed: n3", "upstream_failed (n3)", "upstream_failed:n3", "upstream_failed n3"])(
    "reads the reason %s",
    (reason) => {
      const workflow: SimulatedWorkflow = {
        name: "reasons",
        nodes: [
          { id: "n3", type: "function" },
          { id: "n4", type: "function" },
        ],
        edges: [{ from: "n3", to: "n4" }],
      };
      const failing = {
        n3: { kind: "fail", code: "BOOM", message: "as told" },
        n4: { kind: "echo" },
      } as const;
      const record = recorded(play(workflow, {}, failing));
      record.nodes.find((node) => node.node_id === "n4")!.reason = reason;
      expect(compareRecord(workflow, {}, failing, record)).toEqual([]);
    },
  );
});

describe("compareRecord of halted runs", () => {
  const fork: SimulatedWorkflow = {
    name: "fork",
    nodes: ["A", "B", "C", "D"].map((id) => ({ id, type: "function" })),
    edges: [
      { from: "A", to: "B" },
      { from: "A", to: "C" },
      { from: "B", to: "D" },
    ],
  };
  const steady = { kind: "output", value: 1 } as const;
  const behaviours = { A: steady, B: steady, C: steady, D: steady };
  const bare = { retry_count: 0, reason: null, error: null, from_nodes: [] };
  const node = (node_id: string, status: string, resolved_order: number | null): RecordedNode => ({
    ...bare,
    node_id,
    scope: "",
    status,
    resolved_order,
    attempt: resolved_order === null ? 0 : 1,
    output: status === "COMPLETED" ? 1 : null,
    from_nodes: node_id === "A" ? [] : [node_id === "D" ? "B" : "A"],
  });
  const cancelled = (cancelled_at: number | null, nodes: RecordedNode[]): RunRecord => ({
    status: "CANCELLED",
    error: { code: "CANCELLED", message: "the run was cancelled" },
    output: null,
    nodes,
    cancelled_at,
  });
  const found = (record: RunRecord, of = fork) => compareRecord(of, {}, behaviours, record);
  const A = node("A", "COMPLETED", 2);
  const neverRan = node("D", "CANCELLED", null);

  it("agrees when what was under way completed or was withdrawn, and nothing else ran", () => {
    const rest = [node("B", "COMPLETED", 4), node("C", "CANCELLED", 5), neverRan];
    expect(found(cancelled(3, [A, ...rest]))).toEqual([]);
  });

  it("notices what ran though nothing led there any more", () => {
    const rest = [node("B", "COMPLETED", 4), node("C", "CANCELLED", 6), node("D", "COMPLETED", 5)];
    expect(found(cancelled(3, [A, ...rest]))).toEqual([
      "D is recorded as COMPLETED when it was not ready to run: its arrivals were not in",
    ]);
  });

  it("notices a node that was cancelled before the run was", () => {
    const rest = [node("B", "COMPLETED", 5), node("C", "CANCELLED", 3), neverRan];
    expect(found(cancelled(4, [A, ...rest]))[0]).toBe("C is recorded as CANCELLED in a run that went on");
  });

  it("notices an execution that was left over, and a run that ended otherwise", () => {
    const rest = [node("B", "COMPLETED", 4), node("C", "CANCELLED", null), neverRan];
    expect(found(cancelled(3, [A, ...rest]))).toEqual([
      "C was ready to run, but is recorded as CANCELLED",
      "the run is recorded as CANCELLED, but C never ran",
    ]);
    const over = [A, node("B", "COMPLETED", 4), node("C", "COMPLETED", 5), neverRan];
    expect(found({ ...cancelled(3, over), status: "COMPLETED" })).toEqual([
      "the run is recorded as COMPLETED, expected CANCELLED",
    ]);
  });

  it("notices a cancel that came too late", () => {
    const all = [A, node("B", "COMPLETED", 3), node("C", "COMPLETED", 4), node("D", "COMPLETED", 5)];
    expect(found(cancelled(6, all))[0]).toBe("the run is recorded as cancelled after it was over");
  });

  it("takes one that came while the last step was settled, of which executions are on record as skipped later", () => {
    const failing = { ...behaviours, A: { kind: "fail", code: "BOOM", message: "as told" } as const };
    const failed = { ...node("A", "FAILED", 2), error: { code: "BOOM", message: "as told" } };
    const skipped = (node_id: string, order: number | null) => ({
      ...node(node_id, "SKIPPED", order),
      attempt: 0,
      reason: "upstream_failed: A",
      from_nodes: [],
    });
    const of = (order: number | null) => {
      const nodes = [failed, skipped("B", 3), skipped("C", 4), skipped("D", order)];
      return compareRecord(fork, {}, failing, cancelled(5, nodes));
    };
    expect(of(6)).toEqual([]);
    for (const order of [4, null])
      expect(of(order)).toContain("the run is recorded as cancelled after it was over");
  });

  it("takes a run that never started, where nothing happened", () => {
    const nothing = fork.nodes.map(({ id }) => node(id, "CANCELLED", null));
    expect(found(cancelled(0, nothing))).toEqual([]);
    expect(found(cancelled(0, [A, ...nothing.slice(1)]))).toEqual([
      "A is recorded as COMPLETED in a run that never started",
    ]);
  });

  it("lets fail_fast end a run as FAILED with branches under way, and only then", () => {
    const failing = { ...behaviours, B: { kind: "fail", code: "BOOM", message: "as told" } as const };
    const B = { ...node("B", "FAILED", 3), error: { code: "BOOM", message: "as told" } };
    const D = { ...node("D", "SKIPPED", 4), attempt: 0, reason: "upstream_failed: B", from_nodes: [] };
    const record: RunRecord = {
      ...cancelled(null, [A, B, node("C", "CANCELLED", 5), D]),
      status: "FAILED",
      error: { code: "BOOM", message: "node B failed: as told", node_id: "B" },
    };
    expect(compareRecord({ ...fork, fail_fast: true }, {}, failing, record)).toEqual([]);
    expect(compareRecord(fork, {}, failing, record)).toContain(
      "C is recorded as CANCELLED in a run that went on",
    );
  });

  it("lets a map that was activated by the failure itself never begin, before what is undone", () => {
    const of: SimulatedWorkflow = {
      name: "activated",
      nodes: [
        { id: "A", type: "function", compensated: true },
        { id: "B", type: "function" },
        {
          id: "M",
          type: "map",
          trigger_rule: "all_failed",
          items: { kind: "list", items: [{ kind: "literal", value: 1 }] },
          body: { nodes: [{ id: "I", type: "function" }], edges: [] },
        },
      ],
      edges: [
        { from: "A", to: "B" },
        { from: "B", to: "M" },
      ],
      fail_fast: true,
    };
    const failing = { ...behaviours, B: { kind: "fail", code: "BOOM", message: "as told" } as const };
    const error = { code: "BOOM", message: "as told" };
    const undone = { ...node("A.compensate", "COMPLETED", 5), from_nodes: ["A"] };
    const record: RunRecord = {
      ...cancelled(null, [A, { ...node("B", "FAILED", 3), error }, node("M", "CANCELLED", 4), undone]),
      status: "FAILED",
      error: { ...error, node_id: "B" },
    };
    expect(compareRecord(of, {}, { ...failing, "A.compensate": steady }, record)).toEqual([]);
  });
});
