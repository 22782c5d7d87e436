/** Expressions from strangers on data from strangers: no way into JavaScript, no endless work, no giant result. */
import { describe, expect, it } from "vitest";
import { HitzeroError } from "../../../src/base/errors.ts";
import { compileExpression, examineExpression } from "../../../src/workflow/cel/cel.ts";

const numbers = Array.from({ length: 2_000 }, (_, index) => index);
const data = {
  list: numbers,
  big: "a".repeat(200_000),
  words: Array.from({ length: 5_000 }, () => "word"),
  wide: Object.fromEntries(numbers.map((number) => [`k${number}`, number])),
  deep: numbers.map((number) => ({ number, list: [number] })),
  same: numbers.map((number) => ({ number, list: [number] })),
  empty: {},
  pattern: "(a+)+$",
  own: JSON.parse('{"constructor":{"prototype":1},"__proto__":{"z":1},"toString":2}') as unknown,
  owns: [{ constructor: 1, v: 2 }],
};
const context = { data, input: null, vars: {}, nodes: {} };

const evaluate = (source: string) =>
  compileExpression(source, { kind: "transform", label: "the expression" }).evaluate(context);

function reasonOf(source: string): string {
  try {
    evaluate(source);
  } catch (error) {
    if (error instanceof HitzeroError) return error.message;
    throw error;
  }
  return "";
}

describe("JavaScript is out of reach", () => {
  it.each([
    "data.constructor",
    "data.empty.constructor",
    "data.empty.__proto__",
    'data.empty["__proto__"]',
    'data.empty["constructor"]',
    "data.empty.toString",
    "data.empty.hasOwnProperty",
    "data.list.length",
    'data.list["length"]',
    "data.list.constructor",
    "data.big.length",
    "data.big.constructor",
    "(1).constructor",
    "true.constructor",
    'timestamp("2026-01-01T00:00:00Z").constructor',
    'duration("1s").constructor',
    "b'x'.buffer",
    "cel.constructor",
    "google.constructor",
    "int.constructor",
    "{}.constructor",
    "{'a': 1}.constructor",
    "[].constructor",
  ])("%s", (source) => {
    const examined = examineExpression(source, "transform");
    if (examined.ok) expect(reasonOf(source)).not.toBe("");
  });

  it.each([
    "constructor",
    "toString()",
    "data.toString()",
    "data.valueOf()",
    "globalThis",
    "require('fs')",
    "this",
    "data.list.push(1)",
    "__proto__",
    "prototype",
  ])("%s does not compile", (source) => {
    expect(examineExpression(source, "transform").ok).toBe(false);
  });

  it("own properties of such names are data like any other", () => {
    expect(evaluate("data.own.constructor.prototype")).toBe(1);
    expect(evaluate("data.own.toString")).toBe(2);
    expect(evaluate('data.own["__proto__"].z')).toBe(1);
    expect(evaluate("size(data.own)")).toBe(3);
    expect(evaluate("has(data.own.constructor) && !has(data.own.valueOf)")).toBe(true);
    expect(evaluate("data.owns.map(o, o.v)")).toEqual([2]);
    expect(evaluate("data.owns.filter(o, o.constructor == 1)")).toEqual([{ constructor: 1, v: 2 }]);
    expect(JSON.stringify(evaluate("data.own"))).toBe(JSON.stringify(data.own));
    expect(Object.getPrototypeOf(evaluate("data.own"))).toBe(Object.prototype);
  });

  it("object literals refuse such keys, and keys that stand twice or are no text", () => {
    for (const key of ['"__proto__"', '"constructor"', '"prototype"'])
      expect(reasonOf(`{${key}: 1}`)).toContain("safety");
    expect(reasonOf('{"a": 1, "a": 2}')).toContain("twice");
    expect(reasonOf("{data.list: 1}")).toContain("must be a string");
  });

  it("macro variables may have any name without harm", () => {
    expect(evaluate("data.list.filter(constructor, constructor < 1)")).toEqual([0]);
  });
});

describe("work is bounded", () => {
  it.each([
    "data.list.map(a, data.list.map(b, data.list.map(c, c)))",
    "data.list.filter(a, data.list.all(b, data.list.all(c, c >= 0)))",
    "data.list.exists(a, data.list.all(b, data.list.all(c, c >= 0))) || true",
    "data.list.map(a, data.list.exists(b, data.deep == data.same))",
    "data.list.map(a, data.list.map(b, data.deep in [data.same]))",
    "data.list.map(a, data.words + data.words)",
    "data.list.map(a, data.big + data.big)",
    "data.list.map(a, data.big.contains('b') || data.big.lowerAscii() == data.big)",
    "data.list.map(a, size(data.wide))",
    "data.list.map(a, data.wide == data.wide || true)",
    "data.list.map(a, data.big.matches('(a+)+$'))",
    "data.list.map(a, data.big.matches(data.pattern + string(a)))",
    'data.list.map(a, timestamp("2026-01-01T00:00:00Z").getHours("Europe/Berlin")).map(x, data.list.map(a, timestamp("2026-01-01T00:00:00Z").getHours("Europe/Berlin")))',
    "cel.bind(a, data.big + data.big, cel.bind(b, a + a + a + a + a + a, cel.bind(c, b + b + b + b + b + b, c + c + c + c + c + c)))",
    "cel.bind(a, data.list + data.list, cel.bind(b, a + a + a + a + a + a + a + a + a + a, cel.bind(c, b + b + b + b + b + b + b + b, c + c + c + c + c + c + c + c + c + c)))",
    'data.list.map(a, data.big).join("")',
    'data.list.map(a, data.big.split(""))',
  ])("%s", (source) => {
    expect(reasonOf(source)).toContain("more work than one evaluation may");
  });

  it("and results are", () => {
    expect(reasonOf("data.list.map(a, data)")).toContain("larger than");
    expect(reasonOf("data.list.map(a, data.big)")).toContain("larger than");
  });

  it("but honest work on long lists is done", () => {
    expect(evaluate("data.deep.filter(d, d.number % 2 == 0).map(d, d.list[0] + 1)")).toHaveLength(1_000);
    expect(evaluate("data.deep == data.same")).toBe(true);
    expect(evaluate("data.list.map(a, data.list.exists(b, b == 0))")).toHaveLength(2_000);
    expect(evaluate('data.words.map(w, w + "!").join(" ").size()')).toBe(29_999);
  });

  it("each evaluation has a budget of its own", () => {
    const expression = compileExpression(
      "data.list.filter(a, a < 400).map(a, data.list.map(b, a < b))[0][1]",
      {
        kind: "transform",
        label: "e",
      },
    );
    for (let round = 0; round < 3; round++) expect(expression.evaluate(context)).toBe(true);
  });
});

describe("patterns are linear in the text", () => {
  it("a pattern that hangs a backtracking engine answers", () => {
    expect(evaluate('"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaX".matches("^(a+)+$")')).toBe(false);
    expect(evaluate("data.big.matches(data.pattern)")).toBe(true);
    expect(evaluate('matches("hitzero", "z.*o$")')).toBe(true);
  });

  it.each(["(?=a)", "(a)\\1", "((a{100}){100}){100}", "(", "x".repeat(1_001)])("%s is refused", (pattern) => {
    const source = `data.big.matches(${JSON.stringify(pattern)})`;
    expect(examineExpression(source, "transform")).toMatchObject({
      ok: false,
      problems: [{ code: "EXPRESSION_PATTERN" }],
    });
  });
});

describe("syntax is bounded", () => {
  it.each([
    ["length", `"${"x".repeat(5_000)}"`],
    ["parts", `1${"+1".repeat(400)}`],
    ["unary signs", `${"!".repeat(3_000)}true`],
    ["minus signs", `${"-".repeat(3_000)}1`],
    ["nesting", `${"(".repeat(60)}1${")".repeat(60)}`],
    ["list nesting", `${"[".repeat(60)}${"]".repeat(60)}`],
    ["field chains", `data${".a".repeat(60)}`],
    ["list length", `[${new Array(600).fill("1").join(",")}]`],
  ])("in %s", (_name, source) => {
    expect(examineExpression(source, "transform")).toMatchObject({
      ok: false,
      problems: [{ code: "EXPRESSION_TOO_COMPLEX" }],
    });
  });
});

describe("the context is not walked", () => {
  it("beyond the fields that an expression names", () => {
    const touched: string[] = [];
    const watched = new Proxy({ score: 90 } as Record<string, unknown>, {
      getOwnPropertyDescriptor: (target, key) => {
        touched.push(String(key));
        return Object.getOwnPropertyDescriptor(target, key);
      },
      ownKeys: (target) => {
        touched.push("all keys");
        return Reflect.ownKeys(target);
      },
    });
    const untouchable = new Proxy({}, { ownKeys: () => expect.unreachable() });
    const expression = compileExpression("output.score >= 80", { kind: "condition", label: "e" });
    const result = expression.evaluate({
      data: untouchable,
      output: watched,
      input: null,
      vars: {},
      nodes: {},
    });
    expect(result).toBe(true);
    expect(new Set(touched)).toEqual(new Set(["constructor", "score"]));
  });
});
