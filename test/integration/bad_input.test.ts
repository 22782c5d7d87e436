/** Bad input of over forty kinds: what can be refused is refused whole and leaves nothing; what fails at run time fails its node and nothing else (P5). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RetryAfterError } from "../../src/handlers/errors.ts";
import { parseWorkflowText } from "../../src/workflow/file/parse.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { HOSTILE_RESULTS, HOSTILE_THROWS } from "../support/hostile_values.ts";
import { until, withinLimit } from "../support/until.ts";

const deep = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));
const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const throwing = (value: unknown) => () => {
  throw value;
};

const delays = {
  never_a_number: Number.NaN,
  text: "soon",
  negative: -1e12,
  endless: Number.POSITIVE_INFINITY,
  nanoseconds: 1.79e18,
};
const handlers = {
  fine: () => "fine",
  nul: () => "a\u0000b",
  nul_key: () => ({ "a\u0000b": 1 }),
  surrogate: () => "\ud800",
  huge: () => "x".repeat(17 * 1024 * 1024),
  deep: () => deep(5_000),
  cyclic: () => cyclic,
  bigint: () => ({ count: 1n }),
  nan: () => ({ ratio: Number.NaN }),
  function: () => ({ then_what: () => 1 }),
  symbol: () => Symbol("x"),
  throws_text: throwing("just a text"),
  throws_undefined: throwing(undefined),
  throws_nul: throwing(new Error("bad \u0000 text \ud800")),
  throws_huge: throwing(new Error("m".repeat(1_000_000))),
  throws_cyclic: throwing(Object.assign(new Error("around"), { cause: cyclic })),
  rejects: () => Promise.reject(new RangeError("out of range")),
  getter: () => ({
    get value() {
      throw new Error("the getter broke");
    },
  }),
  retry_after: ({ attempt, item }: { attempt: number; item: keyof typeof delays }) => {
    if (attempt === 1) throw new RetryAfterError("429", delays[item] as number);
    return "came back";
  },
  to_json: () => ({ toJSON: throwing(new Error("toJSON broke")) }),
  hostile_result: ({ index }: { index: number }) => HOSTILE_RESULTS[index]?.make(),
  hostile_throw: ({ index }: { index: number }) => {
    throw HOSTILE_THROWS[index]?.make();
  },
};

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({ handlers, unofferedTimeoutMs: 50 });
});
afterAll(() => engine?.stop());

const node = (id: string, function_name = "fine", more: object = {}) => ({
  id,
  type: "function",
  config: { function_name },
  ...more,
});
const file = (more: object) => ({
  name: "bad",
  nodes: [node("a"), node("b")],
  edges: [{ from: "a", to: "b" }],
  ...more,
});
const edge = (more: object) => file({ edges: [{ from: "a", to: "b", ...more }] });

async function rowsLeft(): Promise<unknown> {
  const { rows } = await engine.database.query(
    `select (select count(*) from hitzero.runs) + (select count(*) from hitzero.workflows)
       + (select count(*) from hitzero.idempotency_keys) as count`,
  );
  return rows[0]?.count;
}

describe("refused, with code and path, and nothing left behind:", () => {
  test.each<[string, unknown, string, string]>([
    ["nothing", null, "NOT_A_WORKFLOW", "$"],
    ["a list", [], "NOT_A_WORKFLOW", "$"],
    ["no name", { nodes: [node("a")], edges: [] }, "MISSING_PROPERTY", "$.name"],
    ["no nodes", file({ nodes: [], edges: [] }), "NO_NODES", "$.nodes"],
    ["a property with a typing error", file({ edgse: [] }), "UNKNOWN_PROPERTY", "$.edgse"],
    ["a dangling edge", edge({ to: "c" }), "UNKNOWN_NODE", "$.edges[0].to"],
    ["an edge to itself", edge({ to: "a" }), "SELF_EDGE", "$.edges[0]"],
    ["an id twice", file({ nodes: [node("a"), node("a")], edges: [] }), "DUPLICATE_ID", "$.nodes[1].id"],
    ["a reserved id", file({ nodes: [node("constructor")], edges: [] }), "RESERVED_ID", "$.nodes[0].id"],
    ["an id with a space", file({ nodes: [node("a b")], edges: [] }), "INVALID_ID", "$.nodes[0].id"],
    [
      "an unknown type",
      file({ nodes: [{ ...node("a"), type: "functoin" }, node("b")] }),
      "UNKNOWN_TYPE",
      "$.nodes[0].type",
    ],
    [
      "a cycle",
      file({
        nodes: [node("s"), node("a"), node("b")],
        edges: [
          { from: "s", to: "a" },
          { from: "a", to: "b" },
          { from: "b", to: "a" },
        ],
      }),
      "CYCLE",
      "$.edges[2]",
    ],
    [
      "a deployment, by name",
      file({
        nodes: [
          node("a"),
          {
            id: "b",
            type: "deploy",
            config: { target_type: "model", model_id: "m", version: 1, environment: "staging" },
          },
        ],
      }),
      "NOT_SUPPORTED_YET",
      "$.nodes[1].type",
    ],
    [
      "a condition that does not parse",
      edge({ condition: "output.score >=" }),
      "EXPRESSION_SYNTAX",
      "$.edges[0].condition",
    ],
    [
      "a condition with an unknown name",
      edge({ condition: "outptu > 1" }),
      "EXPRESSION_UNKNOWN_VARIABLE",
      "$.edges[0].condition",
    ],
    [
      "a condition that is a number",
      edge({ condition: "1 + 1" }),
      "EXPRESSION_NOT_BOOL",
      "$.edges[0].condition",
    ],
    [
      "a negative timeout",
      file({ nodes: [node("a", "fine", { timeout_ms: -1 }), node("b")] }),
      "INVALID_VALUE",
      "$.nodes[0].timeout_ms",
    ],
    [
      "a rule that does not exist",
      file({ nodes: [node("a"), node("b", "fine", { trigger_rule: "sometimes" })] }),
      "INVALID_VALUE",
      "$.nodes[1].trigger_rule",
    ],
    [
      "no function name",
      file({ nodes: [{ id: "a", type: "function", config: {} }, node("b")] }),
      "MISSING_PROPERTY",
      "$.nodes[0].config.function_name",
    ],
    ["vars with an integer beyond 2^53", file({ vars: { a: [2 ** 60] } }), "NOT_JSON", "$.vars.a[0]"],
    [
      "params with one",
      file({
        nodes: [{ id: "a", type: "function", config: { function_name: "fine", params: { id: 2 ** 53 } } }],
        edges: [],
      }),
      "NOT_JSON",
      "$.nodes[0].config.params.id",
    ],
    ["vars with \\u0000", file({ vars: { a: "\u0000" } }), "NOT_JSON", "$.vars.a"],
    [
      "a key named __proto__",
      JSON.parse('{"name":"bad","nodes":[],"edges":[],"vars":{"__proto__":1}}'),
      "RESERVED_KEY",
      "$.vars.__proto__",
    ],
  ])("%s", async (_kind, document, code, path) => {
    const refusal = await engine.client.register(document).then(
      () => undefined,
      (error: { faults: { code: string; path: string; hint: string }[] }) => error.faults,
    );
    const found = refusal?.find((fault) => fault.code === code);
    expect(found, JSON.stringify(refusal)).toBeDefined();
    expect(found?.path.startsWith(path), found?.path).toBe(true);
    expect(found?.hint).not.toBe("");
    expect(await rowsLeft()).toBe(0);
  });

  test.each<[string, string, string]>([
    ["broken JSON", '{"name": "x",, }', "TEXT_SYNTAX"],
    ["broken YAML", "name: x\n  nodes: [", "TEXT_SYNTAX"],
    ["the same key twice", '{"name": "x", "name": "y"}', "DUPLICATE_KEY"],
    [
      "a YAML bomb",
      `a: &a [x,x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 8 }, (_v, i) => `b${i}: &b${i} [${"*"}${i === 0 ? "a" : `b${i - 1}`}${`,*${i === 0 ? "a" : `b${i - 1}`}`.repeat(9)}]`).join("\n")}`,
      "YAML_ALIASES",
    ],
    ["a YAML tag", "name: !!js/function 'x'", "YAML_TAG"],
    ["JSON nested without end", "[".repeat(200_000), "TEXT_"],
  ])("text: %s", (_kind, text, code) => {
    try {
      parseWorkflowText(text, "flow.yaml");
      expect.unreachable();
    } catch (error) {
      const { faults } = error as { faults: { code: string; path: string }[] };
      expect(faults[0]?.code).toMatch(new RegExp(`^${code}`));
    }
  });

  test.each<[string, unknown, string]>([
    ["with \\u0000", { a: "\u0000" }, "OUTPUT_NOT_JSON"],
    ["over 1 MB", "x".repeat(1_100_000), "OUTPUT_TOO_LARGE"],
    ["nested too deep", deep(300), "OUTPUT_TOO_DEEP"],
    ["that is cyclic", cyclic, "OUTPUT_NOT_JSON"],
    ["with an integer beyond 2^53", { id: 2 ** 53 }, "OUTPUT_NOT_JSON"],
    ["with a Map", { ids: new Map() }, "OUTPUT_NOT_JSON"],
  ])("an input %s", async (_kind, input, code) => {
    const before = await engine.client.listRuns({ workflow: "inputs" });
    const workflow = await engine.client.register(file({ name: "inputs" }));
    await expect(engine.client.submit(workflow, { input })).rejects.toMatchObject({ code });
    expect(await engine.client.listRuns({ workflow: "inputs" })).toEqual(before);
  });
});

test.each([
  ["a tag with NUL", { tags: ["a\u0000"] }],
  ["a long tag", { tags: ["x".repeat(10_000)] }],
  ["very many tags", { tags: Array.from({ length: 5_000 }, () => "t") }],
  ["a key with NUL", { idempotencyKey: "\u0000" }],
  ["a key longer than an index takes", { idempotencyKey: "x".repeat(5_000) }],
])("a run is refused by BAD_TEXT for %s", async (_name, options) => {
  const workflow = await engine.client.register({ name: "texts", nodes: [{ id: "a", type: "parallel" }] });
  await expect(engine.client.submit(workflow, options)).rejects.toMatchObject({ code: "BAD_TEXT" });
});

test("a signal is refused by BAD_TEXT for who gives it, its scope and its id", async () => {
  const config = { name: "go" };
  const workflow = await engine.client.register({
    name: "texts",
    nodes: [{ id: "a", type: "signal", config }],
  });
  const [runId = ""] = (await engine.client.submit(workflow, {})).runIds;
  for (const more of [{ by: "x\u0000" }, { by: "x".repeat(200) }, { scope: "\u0000" }, { name: "\ud800" }])
    await expect(engine.client.signal(runId, { name: "go", payload: null, ...more })).rejects.toMatchObject({
      code: "BAD_TEXT",
    });
  await expect(engine.client.signal(runId, { name: "go", payload: null }, "no-uuid")).rejects.toMatchObject({
    code: "BAD_TEXT",
  });
  await engine.client.signal(runId, { name: "go", payload: null });
  expect((await engine.client.wait(runId, { signal: withinLimit() })).status).toBe("COMPLETED");
});

describe("fails its node, and nothing else:", () => {
  test.each<[string, string]>([
    ["nul", "OUTPUT_NOT_JSON"],
    ["nul_key", "OUTPUT_NOT_JSON"],
    ["surrogate", "OUTPUT_NOT_JSON"],
    ["huge", "OUTPUT_TOO_LARGE"],
    ["deep", "OUTPUT_TOO_DEEP"],
    ["cyclic", "OUTPUT_NOT_JSON"],
    ["bigint", "OUTPUT_NOT_JSON"],
    ["nan", "OUTPUT_NOT_JSON"],
    ["function", "OUTPUT_NOT_JSON"],
    ["symbol", "OUTPUT_NOT_JSON"],
    ["throws_text", "HANDLER_ERROR"],
    ["throws_undefined", "HANDLER_ERROR"],
    ["throws_nul", "HANDLER_ERROR"],
    ["throws_huge", "HANDLER_ERROR"],
    ["throws_cyclic", "HANDLER_ERROR"],
    ["rejects", "HANDLER_ERROR"],
    ["getter", "HANDLER_ERROR"],
    ["to_json", "HANDLER_ERROR"],
    ["missing", "HANDLER_NOT_FOUND"],
  ])("a handler that does %s", async (name, code) => {
    const document = file({
      name: "runtime",
      nodes: [node("bad", name), node("after"), node("beside")],
      edges: [{ from: "bad", to: "after" }],
    });
    const { runIds } = await engine.client.submit(await engine.client.register(document), {});
    const run = await engine.client.wait(runIds[0] as string);
    const nodes = Object.fromEntries(
      (await engine.client.listNodes(run.run_id)).map((row) => [row.node_id, row]),
    );
    expect(run).toMatchObject({ status: "FAILED", error: { node_id: "bad" } });
    expect(nodes.bad).toMatchObject({ status: "FAILED", output: null, error: { code } });
    expect(JSON.stringify(nodes.bad?.error).length).toBeLessThan(40_000);
    expect(nodes.after?.status).toBe("SKIPPED");
    expect(nodes.beside).toMatchObject({ status: "COMPLETED", output: "fine" });
  });

  test.each([
    ["throws whatever can be thrown", "hostile_throw", HOSTILE_THROWS.map(({ code }) => code)],
    [
      "returns whatever can be returned",
      "hostile_result",
      HOSTILE_RESULTS.map(({ refused }) => (refused ? /^OUTPUT_(NOT_JSON|TOO_DEEP)$/ : "HANDLER_ERROR")),
    ],
  ])("a handler that %s", async (_kind, name, codes) => {
    const body = { nodes: [node("bad", name)], edges: [] };
    const config = { items: "input.items", body, tolerated_failures: codes.length };
    const workflow = await engine.client.register({
      name: "hostile",
      nodes: [{ id: "each", type: "map", config }],
    });
    const { runIds } = await engine.client.submit(workflow, {
      input: { items: codes.map((_code, index) => index) },
    });
    const run = await engine.client.wait(runIds[0] as string);
    expect(run.status).toBe("COMPLETED");
    const rows = (await engine.client.listNodes(run.run_id)).filter(({ node_id }) => node_id === "bad");
    const found = Object.fromEntries(rows.map(({ scope, error }) => [scope, error?.code]));
    expect(Object.keys(found)).toHaveLength(codes.length);
    for (const [index, code] of codes.entries()) expect(found[`each:${index}`], String(index)).toMatch(code);
  });

  test.each<[string, string]>([
    ["cuts a character in half", "input.text.substring(0, 1)"],
    ["holds NUL", '"a\\u0000b"'],
    ["has a key with NUL", '{"a\\u0000b": 1}'],
  ])("an output of the workflow that %s: the run, as its nodes are done", async (_what, output) => {
    const document = file({ name: "output", nodes: [node("a")], edges: [], output });
    const { runIds } = await engine.client.submit(await engine.client.register(document), {
      input: { text: "\u{1f600}" },
    });
    expect(await engine.client.wait(runIds[0] as string)).toMatchObject({
      status: "FAILED",
      output: null,
      error: { code: "OUTPUT_NOT_JSON" },
    });
  });

  test("a RetryAfterError with any delay: the others go on, what lies too far ahead waits as long as a node may", async () => {
    const body = (id: string) => node(id, "retry_after", { retry: { max_attempts: 2, backoff_ms: 1 } });
    const document = {
      name: "delays",
      nodes: [{ id: "each", type: "map", config: { items: "input.items", body: { nodes: [body("one")] } } }],
      edges: [],
    };
    const soon = ["never_a_number", "text", "negative"];
    const workflow = await engine.client.register(document);
    const [near, far] = await Promise.all(
      [soon, ["endless", "nanoseconds"]].map(async (input) => {
        const { runIds } = await engine.client.submit(workflow, { input: { items: input } });
        return runIds[0] as string;
      }),
    );
    const output = ["came back", "came back", "came back"];
    expect(await engine.client.wait(near as string)).toMatchObject({ status: "COMPLETED", output });
    const retrying = async () =>
      (await engine.client.listNodes(far as string)).filter(({ status }) => status === "RETRYING");
    await until(async () => (await retrying()).length === 2, "both wait for their next attempt");
    await engine.client.cancel(far as string);
    expect((await engine.client.wait(far as string)).status).toBe("CANCELLED");
  });

  test("a host that cannot be reached", async () => {
    const http = {
      id: "bad",
      type: "http",
      config: { url: "http://127.0.0.1:9/" },
      retry: { max_attempts: 1 },
    };
    const document = { name: "unreachable", nodes: [http, node("beside")], edges: [] };
    const { runIds } = await engine.client.submit(await engine.client.register(document), {});
    const run = await engine.client.wait(runIds[0] as string);
    expect(run).toMatchObject({ status: "FAILED", error: { code: "HTTP_ADDRESS_REFUSED", node_id: "bad" } });
  });
});
