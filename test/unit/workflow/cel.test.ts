import { describe, expect, it } from "vitest";
import { HitzeroError, InvalidInputError } from "../../../src/base/errors.ts";
import { compileExpression, type ExpressionKind, examineExpression } from "../../../src/workflow/cel/cel.ts";

const context = {
  data: {
    x: 3,
    y: 3.5,
    zero: 0,
    list: [1, 2, 3],
    mixed: [1, 2.5],
    text: "abc",
    object: { a: 1 },
    nothing: null,
    yes: true,
    records: [{ k: 1 }, { k: 2.5 }],
  },
  output: { count: 1, score: 80 },
  error: { code: "HANDLER_FAILED", message: "m" },
  input: { n: 2 },
  vars: { minimum: 10 },
  nodes: { fetch: { output: { total: 7 } }, skipped: { output: null } },
  item: { amount: 12 },
  index: 4,
};

const value = (source: string, kind: ExpressionKind = "transform") =>
  compileExpression(source, { kind, label: "the expression" }).evaluate(context);

function failure(source: string, given: Record<string, unknown> = context): HitzeroError {
  try {
    compileExpression(source, { kind: "transform", label: "the expression" }).evaluate(given);
  } catch (error) {
    if (error instanceof HitzeroError) return error;
    throw error;
  }
  throw new Error(`${source} did not fail`);
}

describe("numbers of JSON mix with those of the source", () => {
  it.each([
    ["data.x + 1", 4],
    ["1.5 + data.x", 4.5],
    ["data.x - 0.5", 2.5],
    ["data.x * 2", 6],
    ["data.x * 2.0", 6],
    ["data.y * 2", 7],
    ["data.x / 2", 1.5],
    ["5 / 2", 2],
    ["data.x % 2", 1],
    ["7 % 4", 3],
    ["-data.x", -3],
    ["1 + 1.5", 2.5],
    ["size(data.list) + data.x", 6],
    ["int(data.y) / 2", 1],
    ["data.list[data.x - 1]", 3],
    ["data.text.substring(data.x - 2)", "bc"],
    ["data.text.substring(0, data.x - 1)", "ab"],
    ['"a,b,c".split(",", input.n)', ["a", "b,c"]],
    ["string(data.x)", "3"],
    ["data.list + [4]", [1, 2, 3, 4]],
    ["data.list.map(i, i * 2)", [2, 4, 6]],
    ["[1, data.y, data.x]", [1, 3.5, 3]],
  ])("%s is %j", (source, expected) => {
    expect(value(source)).toEqual(expected);
  });

  it.each([
    "data.x == 3",
    "data.x == 3.0",
    "3 == data.x",
    "1 == 1.0",
    "size(data.list) == 3",
    "size(data.list) == data.x",
    "size(data) == 10",
    "data.x < 3.5 && data.y > 3 && data.x < data.y",
    "data.x != data.y",
    "data.x in [1, 2, 3]",
    "2.5 in data.mixed",
    "data.list == [1, 2, 3]",
    '{"a": 1} == data.object',
    "data.x != null",
    "data.nothing == null",
    'data.x != "3"',
    "data.records.exists(r, r.k == 2.5) && data.records.all(r, r.k > 0)",
    "data.list.exists_one(i, i == 2)",
    "9007199254740993 > 9007199254740992.0",
  ])("%s holds", (source) => {
    expect(value(source)).toBe(true);
  });

  it("refuses what would not be a number of JSON", () => {
    for (const source of [
      "1 / 0",
      "data.x / 0",
      "data.x / 0.0",
      "data.x / data.zero",
      "data.zero / data.zero > 1",
      "data.x % 0",
    ]) {
      expect(failure(source).message).toMatch(/division by zero|modulo by zero/);
    }
    expect(failure("data.y % 2").message).toContain("whole numbers");
    expect(failure("9007199254740993").message).toContain("2^53");
    expect(value("string(9007199254740993)")).toBe("9007199254740993");
    expect(failure("9223372036854775807 + 1").message).toContain("64 bits");
    expect(failure('double("nan")').message).toContain("Infinity or NaN");
  });
});

describe("results are plain JSON", () => {
  it.each([
    [
      "{data.text: data.x, 'l': [1, 2.5, null], 'm': {true: uint(3)}}",
      { abc: 3, l: [1, 2.5, null], m: { true: 3 } },
    ],
    ['timestamp("2026-01-31T12:00:00+01:00") + duration("1h30m")', "2026-01-31T12:30:00.000Z"],
    ['[duration("-1.5s"), duration("2h")]', ["-1.5s", "7200s"]],
    ["b'abc'", "YWJj"],
    ['nodes["fetch"].output', { total: 7 }],
    ["data.nothing", null],
  ])("%s", (source, expected) => {
    const result = value(source);
    expect(result).toEqual(expected);
    expect(JSON.parse(JSON.stringify(result))).toEqual(expected);
  });

  it("hands on parts of the context as they are", () => {
    expect(value("data")).toBe(context.data);
    expect((value('{"kept": data.records}') as { kept: unknown }).kept).toBe(context.data.records);
  });

  it("refuses what JSON has no form for", () => {
    for (const source of ["type(data.x)", "int", "cel", "google"])
      expect(failure(source).code).toBe("EXPRESSION_FAILED");
  });
});

describe("the library's known gaps", () => {
  it("are closed: int(uint), int(timestamp), string(timestamp), has() of an index", () => {
    expect(value("int(uint(3)) + 1")).toBe(4);
    expect(value('int(timestamp("2026-01-01T00:00:00Z"))')).toBe(1767225600);
    expect(value('string(timestamp("2026-01-01T00:00:00Z"))')).toBe("2026-01-01T00:00:00.000Z");
    expect(value('has(nodes["fetch"].output.total)')).toBe(true);
    expect(value('data.list.map(i, string(i)).join("-")')).toBe("1-2-3");
  });

  it("or refused clearly: a macro on an empty list literal", () => {
    const examined = examineExpression("[].all(x, x > 1)", "transform");
    expect(examined).toMatchObject({
      ok: false,
      problems: [{ code: "EXPRESSION_TYPE", hint: expect.stringContaining("dyn()") }],
    });
    expect(value("dyn([]).all(x, x > 1)")).toBe(true);
  });

  it("or refused clearly: a time without a zone, which would depend on the machine", () => {
    expect(failure('timestamp("2026-01-31T12:00:00.000")').message).toContain("timestamp() needs a form");
  });
});

describe("what is missing", () => {
  it.each([
    "data.nope",
    "data.nope > 1",
    'data["nope"]',
    "data.list[7]",
    "data.list[-1]",
    "data.list[data.y]",
    "data.nothing.x",
    "data.yes && data.nope",
    "data.nope || false",
    "!data.nope",
  ])("%s is an error, never false", (source) => {
    expect(failure(source).code).toBe("EXPRESSION_FAILED");
  });

  it("can be asked for with has()", () => {
    expect(value("has(data.nope)")).toBe(false);
    expect(value("has(data.nothing)")).toBe(true);
    expect(value("has(data.object.a)")).toBe(true);
    expect(value("has(data.nope) && data.nope > 1")).toBe(false);
    expect(value('has(nodes["skipped"].output.total)')).toBe(false);
    expect(failure("has(data.text.x)").message).toContain("not an object");
    expect(failure("has(data.nope.x)").message).toContain('no field "nope"');
  });

  it("does not matter where the other side decides, as in CEL", () => {
    expect(value("data.nope || true")).toBe(true);
    expect(value("data.nope && false")).toBe(false);
  });
});

describe("places", () => {
  it("see their variables", () => {
    expect(value("output.score >= 80", "condition")).toBe(true);
    expect(value('error.code == "HANDLER_FAILED"', "failure_condition")).toBe(true);
    expect(value("item.amount >= vars.minimum && index == 4", "filter")).toBe(true);
    expect(value('nodes["fetch"].output.total + input.n', "output")).toBe(9);
  });

  it.each([
    ["output", "transform"],
    ["item", "complete_when"],
    ["error", "condition"],
    ["data", "output"],
    ["constructor", "transform"],
    ["process", "condition"],
  ] as const)("%s is unknown in a %s", (source, kind) => {
    expect(examineExpression(source, kind)).toMatchObject({
      ok: false,
      problems: [{ code: "EXPRESSION_UNKNOWN_VARIABLE" }],
    });
  });

  it("may name loop, which CEL's grammar reserves", () => {
    const context = { data: { loop: 1 }, loop: { iteration: 3 } };
    const evaluate = (source: string) =>
      compileExpression(source, { kind: "transform", label: "here" }).evaluate(context);
    expect(evaluate("loop.iteration + data.loop")).toBe(4);
    expect(evaluate("loop")).toEqual({ iteration: 3 });
    expect(evaluate("data . loop")).toBe(1);
    expect(evaluate('"a loop" + r"\\loop" // loop')).toBe("a loop\\loop");
    expect(evaluate("[1, 2].map(loop, loop * 2)")).toEqual([2, 4]);
    expect(evaluate("{'loop': loop.iteration}.loop")).toBe(3);
    expect(examineExpression("loop.iteration > 2", "condition")).toMatchObject({
      references: { variables: ["loop"] },
    });
    expect(examineExpression("loop == 1", "output")).toMatchObject({
      problems: [{ code: "EXPRESSION_UNKNOWN_VARIABLE", message: expect.stringContaining("loop") }],
    });
    expect(() => evaluate("loop.iteratoin")).toThrow('there is no field "iteratoin" (line 1, column 6)');
  });

  it("of conditions want a bool, told at compile time where it can be", () => {
    expect(examineExpression("size(data)", "condition")).toMatchObject({
      ok: false,
      problems: [{ code: "EXPRESSION_NOT_BOOL" }],
    });
    expect(() => value("output.score", "condition")).toThrow("not a bool");
    expect(() => value("data.text", "filter")).toThrow("not a bool");
  });

  it("say what an expression names", () => {
    const examined = examineExpression(
      'nodes["b"].output.x + nodes.a.output + nodes["b"]["output"] + data.list.map(vars, vars.z)[0] + input.n',
      "transform",
    );
    expect(examined).toMatchObject({
      ok: true,
      references: { nodeIds: ["b", "a"], variables: ["nodes", "data", "input"] },
    });
    expect(examineExpression("data.map(nodes, nodes)", "transform")).toMatchObject({
      ok: true,
      references: { nodeIds: [] },
    });
    expect(examineExpression('cel.bind(nodes, data, nodes["x"].output)', "transform")).toMatchObject({
      ok: true,
      references: { nodeIds: [] },
    });
    expect(examineExpression('cel.bind(x, nodes["a"].output, x)', "transform")).toMatchObject({
      ok: true,
      references: { nodeIds: ["a"] },
    });
  });

  it.each([
    'nodes["a"]',
    "nodes",
    "nodes[data.id].output",
    'nodes["a"].status',
    "nodes.map(n, n)",
    "[nodes]",
    'nodes["a" + "b"].output',
  ])("%s does not tell which node it needs", (source) => {
    expect(examineExpression(source, "transform")).toMatchObject({
      ok: false,
      problems: [{ code: "NODE_REFERENCE_FORM" }],
    });
  });
});

describe("errors", () => {
  const secret = "s3cr3t";
  const hidden = {
    ...context,
    data: {
      secret,
      list: [1],
      big: 9e15,
      pattern: "(?=s3cr3t)",
      own: { constructor: { name: secret } },
      owns: [{ constructor: { name: secret } }],
    },
  };

  it.each([
    "int(data.secret)",
    "double(data.secret)",
    "bool(data.secret)",
    "duration(data.secret)",
    "timestamp(data.secret)",
    "data[data.secret]",
    "data.list[data.big]",
    "data.secret + 1",
    "data.secret && true",
    "data.secret ? 1 : 2",
    "data.list.map(i, data.secret[i])",
    '"x".matches(data.pattern)',
    "bytes(data.secret).json()",
    '"x".substring(data.big)',
    'timestamp("2026-01-01T00:00:00Z").getHours(data.secret)',
    "data.owns == [{}]",
    "{data.secret: 1, data.secret: 2}",
    "int(data.big) * int(data.big)",
  ])("of %s never quote a value", (source) => {
    const error = failure(source, hidden);
    expect(error.code).toBe("EXPRESSION_FAILED");
    expect(`${error.message} ${error.hint}`).not.toMatch(/s3cr3t|9000000|8100000/);
    expect(error.cause).toBeUndefined();
  });

  it("name the place, the reason and the position", () => {
    expect(failure("data.x +\n  data.nope").message).toBe(
      'the expression: there is no field "nope" (line 2, column 8); there are "x", "y", "zero", "list", "mixed", "text", "object", "nothing", "yes", "records"',
    );
    expect(failure("data.text + 1").message).toBe(
      "the expression: no such overload: string + int (line 1, column 1)",
    );
  });

  it("of compiling are faults with the place as path", () => {
    try {
      compileExpression("1 +", { kind: "transform", label: "the expression" });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInputError);
      expect((error as InvalidInputError).faults).toMatchObject([
        { code: "EXPRESSION_SYNTAX", path: "the expression" },
      ]);
    }
  });
});
