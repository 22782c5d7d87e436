/** Workflow files as users of the source system wrote them: free-form config, names in metadata, paths as lists. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import { functionOf } from "../../../src/workflow/ir/function_of.ts";
import { expectFault, faultsOf, loop, step, workflow, workflowWith } from "./documents.ts";

const FOLDER = new URL("../../../test_data/source_format/", import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as object;

const node = (type: string, config: object) => ({ name: "x", nodes: [{ id: "a", type, config }] });
const warned = (document: unknown) => compile(document).warnings.map(({ code, path }) => `${code} ${path}`);

describe("the name", () => {
  const { name: _, ...nameless } = workflow("a");
  const named = (document: object, defaultName?: string) => compile(document, { defaultName }).ir.name;

  it("is the file's own, else that of its metadata, else the given one", () => {
    const metadata = { name: "of metadata" };
    expect(named({ ...nameless, name: "own", metadata }, "given")).toBe("own");
    expect(named({ ...nameless, metadata }, "given")).toBe("of metadata");
    expect(named(nameless, "given")).toBe("given");
  });

  it("must be given by one of them, and be one", () => {
    expectFault("MISSING_PROPERTY", "$.name", nameless);
    expectFault("INVALID_VALUE", "$.metadata.name", { ...nameless, metadata: { name: "a@1" } });
    expectFault("WRONG_TYPE", "$.metadata.name", { ...nameless, metadata: { name: 7 } });
    expect(faultsOf({ ...nameless, name: "own", metadata: { name: "a@1", version: 2 } })).toEqual([]);
  });

  it("stands beside a description", () => {
    expect(faultsOf({ ...workflow("a"), description: "what it does" })).toEqual([]);
  });
});

describe("an unknown property of a config", () => {
  it.each([
    ["filter", { filter_expression: "value.a", comment: 1 }, ["IGNORED_PROPERTY $.nodes[0].config.comment"]],
    ["http", { url: "https://a.example", timeout: 5 }, ["IGNORED_PROPERTY $.nodes[0].config.timeout"]],
    ["parallel", { width: 2 }, ["IGNORED_PROPERTY $.nodes[0].config.width"]],
    ["function", { function_name: "f", path: "/x", parse: true, nested: { a: [1] } }, []],
    ["function", { function_name: "f", retry: 3 }, ["IGNORED_PROPERTY $.nodes[0].config.retry"]],
    ["transform", { transformation: "f", fields: ["a"] }, []],
    [
      "transform",
      { expression: "1", function_name: "f", note: 1 },
      ["IGNORED_PROPERTY $.nodes[0].config.function_name", "IGNORED_PROPERTY $.nodes[0].config.note"],
    ],
  ])("of a %s node with %j is %j", (type, config, expected) => {
    expect(warned(node(type, config))).toEqual(expected);
  });

  it("that belongs beside config is named as such", () => {
    const [warning] = compile(node("http", { url: "https://a.example", timeout: 5 })).warnings;
    expect(warning?.hint).toContain("timeout_ms beside config");
  });

  it.each([
    ["function", { function_name: "f", param: {} }, "param", "params"],
    ["transform", { expresion: "1", transformation: "f" }, "expresion", "expression"],
    [
      "filter",
      { filterExpression: "true", filter_expression: "true" },
      "filterExpression",
      "filter_expression",
    ],
    ["signal", { name: "s", timeoutMs: 5 }, "timeoutMs", "timeout_ms"],
    ["http", { url: "https://a.example", header: {} }, "header", "headers"],
  ])("of a %s node that looks like a slip is a fault: %j", (type, config, slip, meant) => {
    const [fault] = faultsOf(node(type, config));
    expect(fault).toMatchObject({
      code: "UNKNOWN_PROPERTY",
      path: `$.nodes[0].config.${slip}`,
      hint: `Did you mean "${meant}"?`,
    });
  });

  it("gives hints that a conditional takes without a word", () => {
    const document = workflowWith("a c b", "a>c c>b", [
      { id: "c", type: "conditional", config: { evaluation_field: "score", validation_rules: [{}] } },
    ]);
    document.edges[1] = { ...document.edges[1], condition: "data.x" };
    expect(warned(document)).toEqual([]);
  });
});

describe("a transform without an expression", () => {
  const called = (config: object) => functionOf(compile(node("transform", config)).ir.nodes[0]!);

  it("runs the function that it names", () => {
    expect(called({ transformation: "normalize" })).toBe("normalize");
    expect(called({ function_name: "f", transformation: "upper case" })).toBe("f");
    expect(called({ expression: "data", function_name: "f" })).toBeUndefined();
  });

  it("must name one", () => {
    expectFault("MISSING_PROPERTY", "$.nodes[0].config.expression", node("transform", { fields: [] }));
  });
});

describe("lists of ids as ways out of a loop", () => {
  const ways = (break_path: unknown, timeout_path: unknown) =>
    workflowWith("l x y z", "", [loop("l", "l", { condition: "output.more", break_path, timeout_path })]);

  it("imply an edge to each", () => {
    const { ir } = compile(ways(["x", "y"], ["z", "y", "z"]));
    expect(ir.edges.map(({ from, to }) => `${ir.nodes[from]?.id}>${ir.nodes[to]?.id}`)).toEqual([
      "l>x",
      "l>y",
      "l>z",
    ]);
    expect(ir.nodes[0]?.loop).toMatchObject({ break: [0, 1], timeout: [2, 1] });
    expect(loadIr(JSON.parse(JSON.stringify(ir))).ir).toEqual(ir);
  });

  it("may be empty, which is to say absent", () => {
    const { ir } = compile(
      workflowWith("l x", "l>x", [loop("l", "l", { condition: "output", break_path: [] })]),
    );
    expect(ir.nodes[0]?.loop).not.toHaveProperty("break");
  });

  it("name nodes that exist, outside the body", () => {
    expectFault("UNKNOWN_NODE", "$.nodes[0].config.break_path[1]", ways(["x", "q"], "z"));
    expectFault("LOOP_PATH_INSIDE", "$.nodes[0].config.timeout_path[0]", ways("x", ["l"]));
  });

  it("exclude each other at a join, but not the nodes of one list", () => {
    const joined = (break_path: unknown, timeout_path: unknown) => {
      const document = ways(break_path, timeout_path);
      document.nodes.push(step("j", { trigger_rule: "all_success" }));
      for (const from of ["x", "y"]) document.edges.push({ from, to: "j" });
      return faultsOf(document).map(({ code }) => code);
    };
    expect(joined(["x", "y"], ["z"])).toEqual([]);
    expect(joined(["x"], ["y", "z"])).toEqual(["JOIN_NEVER_MET"]);
    expect(joined(["x", "z"], ["y", "z"])).toEqual([]);
  });
});

it("every file of test_data/source_format compiles", () => {
  for (const file of readdirSync(FOLDER)) expect(faultsOf({ name: file, ...read(file) })).toEqual([]);
});
