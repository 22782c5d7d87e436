import { describe, expect, it } from "vitest";
import { encodeInput } from "../../../src/engine/client/input.ts";
import { checkSignal } from "../../../src/engine/nodes/signals.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { misfitsOf, type ValueSchema } from "../../../src/workflow/file/value_schema.ts";
import { faultsOf, workflow } from "./documents.ts";

const faults = (input_schema: unknown) =>
  faultsOf(workflow("a", "", { input_schema })).map(({ code, path }) => `${code} ${path}`);

describe("a schema in a workflow", () => {
  it.each([
    [{ type: "objekt" }, "type"],
    [{ type: ["string", "txt"] }, "type"],
    [{ type: [] }, "type"],
    [{ pattern: "(" }, "pattern"],
    [{ pattern: "(?=a)b" }, "pattern"],
    [{ properties: { a: { pattern: "[" } } }, "properties.a.pattern"],
    [{ patternProperties: { "(": true } }, 'patternProperties["("]'],
    [{ properties: [] }, "properties"],
    [{ properties: { a: 7 } }, "properties.a"],
    [{ required: "a" }, "required"],
    [{ required: [1] }, "required"],
    [{ minLength: -1 }, "minLength"],
    [{ minimum: "1" }, "minimum"],
    [{ multipleOf: 0 }, "multipleOf"],
    [{ anyOf: [] }, "anyOf"],
    [{ items: [{}] }, "items"],
    [{ enum: [] }, "enum"],
    [{ uniqueItems: "yes" }, "uniqueItems"],
    [{ $ref: "#/$defs/none" }, "$ref"],
    [{ $ref: "#nowhere" }, "$ref"],
    [{ $ref: "https://example.com/schema.json" }, "$ref"],
    [{ $ref: "other.json" }, "$ref"],
    [{ $ref: "#" }, "$ref"],
    [{ $ref: "#/default", default: { enum: 7 } }, "$ref"],
    [{ allOf: [{ $ref: "#/$defs/a" }], $defs: { a: { not: { $ref: "#" } } } }, "$defs.a.not.$ref"],
    [{ $dynamicRef: "#a" }, "$dynamicRef"],
    [{ dependentRequired: { a: "b" } }, "dependentRequired"],
  ])("%j is refused", (schema, place) => {
    const found = faults(schema);
    expect(found.map((text) => text.split(" ")[0])).toEqual(["SCHEMA_INVALID"]);
    const path = found[0]?.replace("SCHEMA_INVALID $.input_schema.", "").replaceAll(/\[\d+\]/g, "");
    expect([path, path?.replace(/^allOf\./, "")]).toContain(place);
  });

  it("is refused with a hint where a type is misspelt, and warned of where a keyword is", () => {
    const [fault] = faultsOf(workflow("a", "", { input_schema: { type: "objekt" } }));
    expect(fault?.hint).toBe('Did you mean "object"?');
    const { warnings } = compile(workflow("a", "", { input_schema: { requird: ["a"], "x-own": 1 } }));
    expect(warnings.map(({ path }) => path)).toEqual(["$.input_schema.requird"]);
  });

  it("is that of an approval, too, and inside a map's body", () => {
    const approval = (id: string) => ({
      id,
      type: "approval",
      config: { name: "s", schema: { pattern: "(" } },
    });
    const map = { id: "m", type: "map", config: { items: "input", body: { nodes: [approval("b")] } } };
    expect(faultsOf({ name: "x", nodes: [approval("a"), map] }).map(({ path }) => path)).toEqual(
      ["$.nodes[0].config.schema.pattern", "$.nodes[1].config.body.nodes[0].config.schema.pattern"].slice(
        0,
        2,
      ),
    );
  });

  it("may recur where it looks at parts", () => {
    const tree = {
      type: "object",
      properties: { next: { $ref: "#" }, all: { items: { $ref: "#/$defs/b" } } },
      $defs: { b: true },
    };
    expect(faults(tree)).toEqual([]);
    expect(misfitsOf(tree, { next: { next: 1 } })).toMatchObject([
      { path: ["next", "next"], keyword: "#/properties/next/$ref/properties/next/$ref/type" },
    ]);
  });

  it("with very long chains of references is refused, not a crash", () => {
    const $defs = Object.fromEntries(
      Array.from({ length: 3_000 }, (_item, n) => [
        `a${n}`,
        n === 2_999 ? true : { $ref: `#/$defs/a${n + 1}` },
      ]),
    );
    expect(faults({ $ref: "#/$defs/a0", $defs })[0]).toContain("SCHEMA_INVALID");
  });
});

describe("a value", () => {
  it.each<[ValueSchema, unknown, unknown]>([
    [{ type: "integer" }, 1, 1.5],
    [{ type: ["string", "null"] }, null, 1],
    [{ enum: [{ a: 1, b: 2 }] }, { b: 2, a: 1 }, { a: 1 }],
    [{ const: null }, null, 0],
    [{ minimum: 1, exclusiveMaximum: 3 }, 1, 3],
    [{ multipleOf: 0.1 }, 0.3, 0.35],
    [{ minLength: 2, maxLength: 2 }, "é€", "é"],
    [{ maxLength: 1 }, "😀", "ab"],
    [{ pattern: "^a+$" }, "aa", "ab"],
    [{ format: "date-time" }, "2026-01-31T12:00:00Z", "2026-01-31"],
    [{ format: "date" }, "2026-01-31", "2026-13-31"],
    [{ format: "email" }, "a@b.c", "a b@c"],
    [{ format: "ipv4" }, "127.0.0.1", "127.0.0.256"],
    [{ format: "ipv6" }, "::1", ":::1"],
    [{ format: "uri" }, "urn:a:b", "a/b"],
    [{ format: "own" }, "anything", undefined],
    [{ items: { type: "number" }, prefixItems: [{ type: "string" }] }, ["a", 1], ["a", "b"]],
    [{ contains: { const: 1 }, maxContains: 1 }, [0, 1], [1, 1]],
    [
      { uniqueItems: true },
      [{ a: 1 }, { a: 2 }],
      [
        { a: 1, b: 1 },
        { b: 1, a: 1 },
      ],
    ],
    [{ minItems: 1 }, [0], []],
    [{ required: ["a"] }, { a: null }, {}],
    [{ properties: { a: { type: "string" } }, additionalProperties: false }, { a: "" }, { b: 1 }],
    [{ patternProperties: { "^x_": { type: "number" } } }, { x_a: 1 }, { x_a: "" }],
    [{ propertyNames: { maxLength: 2 } }, { ab: 1 }, { abc: 1 }],
    [{ maxProperties: 1 }, { a: 1 }, { a: 1, b: 1 }],
    [{ dependentRequired: { a: ["b"] } }, { a: 1, b: 1 }, { a: 1 }],
    [{ dependentSchemas: { a: { required: ["b"] } } }, {}, { a: 1 }],
    [{ allOf: [{ minimum: 1 }, { maximum: 2 }] }, 2, 3],
    [{ anyOf: [{ minimum: 5 }, { maximum: 2 }] }, 1, 3],
    [{ oneOf: [{ minimum: 1 }, { minimum: 2 }] }, 1, 2],
    [{ not: { type: "string" } }, 1, "a"],
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    [{ if: { minimum: 5 }, then: { multipleOf: 5 }, else: { maximum: 2 } }, 10, 6],
    [{ $ref: "#a", $defs: { x: { $anchor: "a", type: "string" } } }, "a", 1],
    [{ $ref: "#/$defs/a~1b%25", $defs: { "a/b%": { type: "string" } } }, "a", 1],
    [{ allOf: [{ properties: { a: true } }], unevaluatedProperties: false }, { a: 1 }, { a: 1, b: 2 }],
    [
      { anyOf: [{ required: ["b"], properties: { b: true } }, true], unevaluatedProperties: false },
      { b: 1 },
      { c: 1 },
    ],
    [{ prefixItems: [true], unevaluatedItems: false }, [1], [1, 2]],
    [true, 1, undefined],
    [{ properties: { a: false } }, {}, { a: 1 }],
  ])("%j takes %j, not %j", (schema, good, bad) => {
    expect(faults(schema)).toEqual([]);
    expect(misfitsOf(schema, good)).toEqual([]);
    if (bad !== undefined) expect(misfitsOf(schema, bad).length).toBeGreaterThan(0);
  });

  it("is told of with its place and the keyword's", () => {
    const schema = { properties: { list: { items: { type: "number" } } }, required: ["x"] };
    expect(misfitsOf(schema, { list: [1, "a"] })).toEqual([
      { path: [], keyword: "#/required", message: 'the property "x" is missing' },
      {
        path: ["list", 1],
        keyword: "#/properties/list/items/type",
        message: "it must be of type number, not string",
      },
    ]);
  });

  it("that fits nowhere is told of twenty times at most", () => {
    expect(
      misfitsOf(
        { items: false },
        Array.from({ length: 1_000 }, () => 1),
      ),
    ).toHaveLength(20);
  });
});

describe("whatever a schema asks for is an answer, in bounded work", () => {
  const doubling = (key: string) => ({
    $ref: "#/$defs/a0",
    $defs: Object.fromEntries(
      Array.from({ length: 60 }, (_item, n) => [
        `a${n}`,
        n === 59 ? { const: 1 } : { [key]: [{ $ref: `#/$defs/a${n + 1}` }, { $ref: `#/$defs/a${n + 1}` }] },
      ]),
    ),
  });

  it.each(["anyOf", "oneOf", "allOf"])("2^60 steps of %s", (key) => {
    const schema = doubling(key);
    expect(faults(schema)).toEqual([]);
    expect(misfitsOf(schema, 2)[0]?.message).toContain("more work");
  });

  it("patterns that other engines never finish", () => {
    const schema = { pattern: "^(a+)+$" };
    expect(faults(schema)).toEqual([]);
    expect(misfitsOf(schema, `${"a".repeat(5_000)}b`)).toMatchObject([{ keyword: "#/pattern" }]);
  });

  it("refuses a run's input by INPUT_SCHEMA, and a payload by SIGNAL_INVALID", () => {
    const { ir } = compile({
      name: "x",
      nodes: [{ id: "s", type: "signal", config: { name: "s", schema: doubling("anyOf") } }],
      input_schema: doubling("anyOf"),
    });
    expect(() => encodeInput(ir, 2)).toThrow(expect.objectContaining({ code: "INVALID_INPUT" }));
    expect(() => checkSignal(ir, { name: "s", payload: 2 })).toThrow(
      expect.objectContaining({ code: "SIGNAL_INVALID" }),
    );
  });
});
