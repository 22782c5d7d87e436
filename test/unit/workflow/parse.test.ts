import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Fault, InvalidInputError } from "../../../src/base/errors.ts";
import { findJsonFlaw } from "../../../src/workflow/file/json_scan.ts";
import { parseWorkflowText } from "../../../src/workflow/file/parse.ts";
import { LIMITS } from "../../../src/workflow/limits.ts";

function faultsOf(text: string, fileName: string): readonly Fault[] {
  try {
    parseWorkflowText(text, fileName);
    return [];
  } catch (error) {
    if (error instanceof InvalidInputError) return error.faults;
    throw error;
  }
}

describe("parseWorkflowText", () => {
  it("reads JSON and YAML to the same document", () => {
    const document = { name: "x", nodes: [{ id: "a", type: "parallel" }], edges: [] };
    expect(parseWorkflowText(JSON.stringify(document), "w.json")).toEqual(document);
    expect(parseWorkflowText(`\ufeff  ${JSON.stringify(document)}`, "workflow")).toEqual(document);
    expect(parseWorkflowText("name: x\nnodes:\n  - {id: a, type: parallel}\nedges: []\n", "w.yaml")).toEqual(
      document,
    );
    expect(parseWorkflowText("name: x\nnodes: [{id: a, type: parallel}]\nedges: []", "workflow")).toEqual(
      document,
    );
    expect(parseWorkflowText("{name: x}", "w.yml")).toEqual({ name: "x" });
  });

  it("keeps to YAML 1.2's core: no dates, no yes and no, no merge keys", () => {
    expect(parseWorkflowText("a: 2026-01-31\nb: yes\nc: 0x1F\n<<: {d: 1}", "w.yaml")).toEqual({
      a: "2026-01-31",
      b: "yes",
      c: 31,
      "<<": { d: 1 },
    });
  });

  const laughs = Array.from({ length: 9 }, (_, level) => {
    const items = new Array(10).fill(level === 0 ? "1" : `*l${level - 1}`).join(",");
    return `l${level}: &l${level} [${items}]`;
  }).join("\n");
  const deep = 100_000;

  it.each([
    ["TEXT_SYNTAX", "line 1, column 8", '{"a":1,}', "w.json"],
    ["TEXT_SYNTAX", "line 3, column 2", '{\n "a": 1\n "b": 2}', "w.json"],
    ["TEXT_SYNTAX", "line 1, column 5", "[1,2", "w.json"],
    ["TEXT_SYNTAX", "line 1, column 1", "", "w.json"],
    ["TEXT_SYNTAX", "line 1, column 6", '{"a":"no end', "w"],
    ["TEXT_SYNTAX", "line 1, column 9", '{"a":1} {}', "w.json"],
    ["TEXT_SYNTAX", `line 1, column ${deep + 1}`, "[".repeat(deep), "w.json"],
    ["DUPLICATE_KEY", "line 1, column 8", '{"a":1,"a":2}', "w.json"],
    ["DUPLICATE_KEY", "line 2, column 12", '{"x":\n {"a":[{}],"\\u0061":2}}', "w.json"],
    ["DUPLICATE_KEY", "line 2, column 1", "a: 1\na: 2", "w.yaml"],
    ["TEXT_SYNTAX", "line 1, column 6", "a: [1", "w.yaml"],
    ["TEXT_SYNTAX", "line 2, column 1", "a: 1\n---\nb: 2", "w.yaml"],
    ["TEXT_SYNTAX", "line 1, column 3", "? [1]\n: 2", "w.yaml"],
    ["YAML_TAG", "line 1, column 4", "a: !!js/function 'process.exit()'", "w.yaml"],
    ["YAML_TAG", "line 1, column 4", "a: !!binary aGk=", "w.yaml"],
    ["YAML_ALIASES", "line 1, column 1", laughs, "w.yaml"],
    ["YAML_ALIASES", "line 1, column 8", "a: &a [*a]", "w.yaml"],
    ["YAML_ALIASES", "line 1, column 4", "a: *nowhere", "w.yaml"],
    ["TEXT_TOO_LARGE", "line 1, column 1", "[".repeat(deep), "w.yaml"],
    ["TEXT_TOO_LARGE", "line 1, column 1", " ".repeat(LIMITS.yamlTextLength + 1), "w.yaml"],
    ["TEXT_TOO_LARGE", "line 1, column 1", " ".repeat(LIMITS.jsonTextLength + 1), "w.json"],
  ])("refuses with %s at %s", (code, path, text, fileName) => {
    expect(faultsOf(text, fileName)[0]).toMatchObject({ code, path });
  });

  it("allows a few aliases", () => {
    expect(parseWorkflowText("a: &x {b: 1}\nc: *x", "w.yaml")).toEqual({ a: { b: 1 }, c: { b: 1 } });
  });

  it("reads very long strings and very deep lists of JSON", () => {
    expect(parseWorkflowText(`{"a":"${"x".repeat(5_000_000)}"}`, "w.json")).toHaveProperty("a");
    expect(parseWorkflowText(`${"[".repeat(deep)}${"]".repeat(deep)}`, "w.json")).toHaveLength(1);
  });
});

describe("findJsonFlaw", () => {
  const tokens = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "a",
    "1",
    "0",
    "-",
    ".",
    "e",
    " ",
    "\\",
    "u",
    "\n",
    "true",
    '"b"',
  ];

  it("finds a syntax error exactly when JSON.parse does", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...tokens), { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        let sound = true;
        try {
          JSON.parse(text);
        } catch {
          sound = false;
        }
        const flaw = findJsonFlaw(text);
        expect(flaw === undefined || flaw.kind === "duplicate_key").toBe(sound);
      }),
      { numRuns: 5_000 },
    );
  });

  it("finds no flaw in what JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        expect(findJsonFlaw(JSON.stringify(value, null, indent))).toBeUndefined();
      }),
    );
  });
});

describe("numbers that a double cannot hold", () => {
  it.each([
    [
      '{"vars": {"ids": [1, 9007199254740993]}}',
      "w.json",
      "line 1, column 22",
      "$.vars.ids[1] is an integer beyond 2^53",
    ],
    [
      '{"a": [[], {"b": -1e999}]}',
      "input.json",
      "line 1, column 18",
      "$.a[1].b is a number that is too large",
    ],
    ["vars:\n  id: 12345678901234567890\n", "w.yaml", "line 2, column 7", "this is an integer beyond 2^53"],
    ["a: [0x20000000000001]", "w.yaml", "line 1, column 5", "this is an integer beyond 2^53"],
    ["12345678901234567890: a", "w.yaml", "line 1, column 1", "this is an integer beyond 2^53"],
    ["a: 1e999", "w.yaml", "line 1, column 4", "this is a number that is too large"],
  ])("%s is refused", (text, file, path, message) => {
    const [fault, ...more] = faultsOf(text, file);
    expect(fault).toMatchObject({ code: "NUMBER_NOT_EXACT", path });
    expect(fault?.message).toContain(message);
    expect(more).toEqual([]);
  });

  it("are those and no others", () => {
    expect(
      parseWorkflowText('{"a": [9007199254740991, 1e21, -0.1], "b": "12345678901234567890"}', "w.json"),
    ).toEqual({
      a: [9007199254740991, 1e21, -0.1],
      b: "12345678901234567890",
    });
  });
});

describe("a key that stands twice", () => {
  it("is named with its path, however it is written", () => {
    const [fault] = faultsOf('{"a": [{"key": 1, "k\\u0065y": 2}]}', "w.json");
    expect(fault).toMatchObject({ code: "DUPLICATE_KEY", path: "line 1, column 19" });
    expect(fault?.message).toBe("$.a[0].key stands twice in one object");
  });
});
