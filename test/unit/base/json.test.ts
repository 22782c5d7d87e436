import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HitzeroError } from "../../../src/base/errors.ts";
import { canonicalJson, encodeJson, numberFlaw, pathText } from "../../../src/base/json.ts";
import { HOSTILE_RESULTS, ODD_RESULTS } from "../../support/hostile_values.ts";

const LIMITS = { maxBytes: 1000, maxDepth: 10, what: 'output of node "a"' };

function refusal(value: unknown, limits = LIMITS): HitzeroError {
  try {
    encodeJson(value, limits);
  } catch (error) {
    if (error instanceof HitzeroError) return error;
    throw error;
  }
  throw new Error("the value was not refused");
}

/** The same document with the keys of every object inserted in another order. */
function reversed(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(reversed);
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  );
}

describe("canonicalJson", () => {
  it("sorts keys by code units at every level", () => {
    expect(canonicalJson({ b: [{ z: 1, a: 2 }], a: null, B: true })).toBe(
      '{"B":true,"a":null,"b":[{"a":2,"z":1}]}',
    );
  });

  it("sorts keys that JavaScript keeps in an order of its own", () => {
    expect(canonicalJson({ 10: "x", 9: "y", a: 1 })).toBe('{"10":"x","9":"y","a":1}');
    expect(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":2}}'))).toBe('{"__proto__":{"x":2},"b":1}');
  });

  it("follows JSON for undefined, functions and toJSON", () => {
    expect(canonicalJson({ a: undefined, b: () => 1, c: [undefined], d: new Date(0) })).toBe(
      '{"c":[null],"d":"1970-01-01T00:00:00.000Z"}',
    );
    expect(canonicalJson(undefined)).toBe("null");
  });

  it("does not depend on the order of keys, and means the same document", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(reversed(value))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
    );
  });
});

describe("encodeJson", () => {
  it("encodes as JSON.stringify does", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        fc.pre(!/(?<![\d.e])\d{16,21}(?![\d.e])/.test(JSON.stringify(value)));
        const text = encodeJson(value, { ...LIMITS, maxBytes: 1_000_000 });
        expect(text).toBe(JSON.stringify(value));
      }),
    );
  });

  it("turns undefined into null at the top and drops it below", () => {
    expect(encodeJson(undefined, LIMITS)).toBe("null");
    expect(encodeJson({ a: undefined, b: [null] }, LIMITS)).toBe('{"b":[null]}');
    expect(encodeJson({ at: new Date(0) }, LIMITS)).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
  });

  const nul = "\u0000";
  const cyclic: Record<string, unknown> = {};
  cyclic.inner = { back: [cyclic] };
  it.each([
    ["NUL in a string", { a: [`x${nul}`] }, "$.a[0]"],
    ["NUL in a key", { a: { [`k${nul}`]: 1 } }, "$.a"],
    ["a high surrogate alone", { a: "\ud800x" }, "$.a"],
    ["a low surrogate alone", { "b c": ["\udc00"] }, '$["b c"][0]'],
    ["a surrogate in a key", { "\ud800": 1 }, "$"],
    ["NaN", { a: { b: Number.NaN } }, "$.a.b"],
    ["Infinity", [1, Number.POSITIVE_INFINITY], "$[1]"],
    ["bigint", { n: 1n }, "$.n"],
    ["a function", { f: () => 1 }, "$.f"],
    ["a function at the top", () => 1, "$"],
    ["a symbol", [Symbol("s")], "$[0]"],
    ["a Map", { m: new Map([["secret", 1]]) }, "$.m"],
    ["a Promise", { p: Promise.resolve("secret") }, "$.p"],
    ["an Error", { e: new Error("secret") }, "$.e"],
    ["bytes", { b: new Uint8Array(2) }, "$.b"],
    ["a cycle", cyclic, "$.inner.back[0]"],
  ])("refuses %s and names its place, not its value", (_name, value, path) => {
    const error = refusal(value);
    expect(error.code).toBe("OUTPUT_NOT_JSON");
    expect(error.message).toContain(`output of node "a": ${path} `);
    expect(error.message).not.toContain("secret");
    expect(error.hint).not.toBe("");
  });

  it.each(HOSTILE_RESULTS.filter(({ refused, name }) => refused && !/thenable/.test(name)))(
    "refuses $name",
    ({ make, code, refused }) => {
      const error = refusal(make(), { ...LIMITS, maxDepth: 200, maxBytes: 100_000 });
      expect(error.code).toBe(code);
      expect(error.message).toMatch(refused as RegExp);
    },
  );

  it.each(ODD_RESULTS.filter(({ name }) => !/thenable/.test(name)))("takes $name", ({ make, text }) => {
    expect(encodeJson(make(), LIMITS)).toBe(text);
  });

  it("accepts text that only looks like such an escape", () => {
    const innocent = { a: "\\u0000", b: "\\ud800", c: "\ud83d\ude00", "\\u0000": 1 };
    expect(encodeJson(innocent, LIMITS)).toBe(JSON.stringify(innocent));
  });

  it("finds a NUL beside an innocent escape", () => {
    expect(refusal({ a: "\\u0000", b: nul }).message).toContain("$.b");
  });

  it("refuses what is too large, before building the text", () => {
    expect(refusal("x".repeat(1001)).code).toBe("OUTPUT_TOO_LARGE");
    expect(refusal("é".repeat(600)).code).toBe("OUTPUT_TOO_LARGE");
    expect(encodeJson("é".repeat(499), LIMITS)).toHaveLength(501);
    // Twenty levels that each hold the next one twice: a million leaves in memory for twenty.
    let shared: unknown = 1;
    for (let level = 0; level < 20; level++) shared = [shared, shared];
    expect(refusal(shared, { ...LIMITS, maxDepth: 50 }).code).toBe("OUTPUT_TOO_LARGE");
  });

  it("refuses what is too deep", () => {
    let deep: unknown = 1;
    for (let level = 0; level < 11; level++) deep = { deep };
    expect(refusal(deep).code).toBe("OUTPUT_TOO_DEEP");
    expect(encodeJson((deep as { deep: unknown }).deep, LIMITS)).toContain("1");
    const endless = { toJSON: () => ({ toJSON: endless.toJSON }) };
    expect(refusal(endless).code).toBe("OUTPUT_TOO_DEEP");
  });
});

describe("pathText", () => {
  it("writes names plainly and anything else quoted", () => {
    expect(pathText(["nodes", 3, "config", "a-b", "c"])).toBe('$.nodes[3].config["a-b"].c');
    expect(pathText(Array.from({ length: 100 }, () => "name")).length).toBeLessThan(210);
  });
});

describe("numberFlaw", () => {
  it.each([
    "0",
    "-0",
    "9007199254740991",
    "-9007199254740991",
    "1.7976931348623157e308",
    "1e21",
    "1e-999",
    "0.12345678901234567890",
  ])("%s is kept", (literal) => expect(numberFlaw(literal)).toBeUndefined());
  it.each([
    "9007199254740992",
    "-9007199254740993",
    "12345678901234567890",
    "1e18",
    "9007199254740992.5",
    "9e15999",
    "-1e999",
    `1${"0".repeat(30)}`,
  ])("%s is not", (literal) => expect(numberFlaw(literal)).toMatch(/integer beyond 2\^53|too large/));
});
