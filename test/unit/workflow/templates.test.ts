import { describe, expect, it } from "vitest";
import { readTemplate } from "../../../src/workflow/cel/templates.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { faultsOf, step } from "./documents.ts";

const call = (config: object, id = "call") => ({
  id,
  type: "http",
  config: { url: "https://a.example/", ...config },
});
const one = (config: object) => ({ name: "x", nodes: [call(config)] });

describe("readTemplate", () => {
  const text = (value: string) => ({ text: value });
  const expression = (value: string) => ({ expression: value });

  it.each<[string, object[]]>([
    ["", [text("")]],
    ["plain } }} { text", [text("plain } }} { text")]],
    ["{{ a }}", [expression("a")]],
    ["{{a}}", [expression("a")]],
    [" {{ a }}", [text(" "), expression("a")]],
    ["{{ a }}{{ b }}-{{ c }}.", [expression("a"), expression("b"), text("-"), expression("c"), text(".")]],
    ["{{\n  a +\n  b\n}}", [expression("a +\n  b")]],
    ["{{ {'a': {'b': 1}} }}", [expression("{'a': {'b': 1}}")]],
    ["{{{'a':{'b':1}}}}", [expression("{'a':{'b':1}}")]],
    ['{{ "}}" }}', [expression('"}}"')]],
    ["{{ '}}\"' }}", [expression("'}}\"'")]],
    ['{{ "\\"}}" }}', [expression('"\\"}}"')]],
    ['{{ r"\\" }}', [expression('r"\\"')]],
    ['{{ """ "}} """ }}', [expression('""" "}} """')]],
    ["{{ ''' ' }} ''' }}", [expression("''' ' }} '''")]],
    ["{{ a // }} \n }}", [expression("a // }}")]],
    ['{{ "{{" }}', [expression('"{{"')]],
    ["{{ a }} }}", [expression("a"), text(" }}")]],
  ])("%j", (template, parts) => {
    expect(readTemplate(template)).toEqual({ ok: true, parts });
  });

  it.each([
    "{{",
    "{{ a",
    "{{ a }",
    "{{ {'a': 1 }}",
    "{{ '}}",
    '{{ """ "" }}',
    "{{ a // }}",
    "{{}}",
    "x {{  }}",
  ])("%j is refused", (template) => {
    expect(readTemplate(template)).toMatchObject({ ok: false });
  });
});

type Case = [code: string, path: string, config: object, says?: string];

const CASES: Case[] = [
  ["TEMPLATE_SYNTAX", "$.nodes[0].config.url", { url: "https://a.example/{{ data.id" }, "character 19"],
  ["TEMPLATE_SYNTAX", "$.nodes[0].config.body.a[1].b", { body: { a: [1, { b: "{{ }}" }] } }],
  [
    "EXPRESSION_SYNTAX",
    "$.nodes[0].config.headers.Authorization",
    { headers: { Authorization: "Bearer {{ 1 + }}" } },
  ],
  [
    "EXPRESSION_SYNTAX",
    '$.nodes[0].config.headers["X-Id"]',
    { headers: { "X-Id": "{{ data }} {{ 1 + }}" } },
    "template 2 of 2",
  ],
  ["EXPRESSION_UNKNOWN_VARIABLE", "$.nodes[0].config.query.q", { query: { q: "{{ env.HOME }}" } }, "env"],
  ["EXPRESSION_UNKNOWN_VARIABLE", "$.nodes[0].config.query.q[1]", { query: { q: [1, "{{ output }}"] } }],
  ["EXPRESSION_TYPE", "$.nodes[0].config.body", { body: '{{ 1 + "a" }}' }],
  ["NODE_REFERENCE_FORM", "$.nodes[0].config.body", { body: "{{ nodes[data].output }}" }],
  ["NODE_REFERENCE_UNKNOWN", "$.nodes[0].config.body", { body: '{{ nodes["b"].output }}' }],
  ["NODE_REFERENCE_NOT_ANCESTOR", "$.nodes[0].config.body", { body: '{{ nodes["call"].output }}' }],
  ["SECRET_UNKNOWN", "$.nodes[0].config.headers.A", { headers: { A: "{{ secrets.token }}" } }, "token"],
  ["SECRET_REFERENCE_FORM", "$.nodes[0].config.body", { body: "{{ secrets }}", secrets: { a: "env:A" } }],
  [
    "SECRET_REFERENCE_FORM",
    "$.nodes[0].config.body",
    { body: "{{ secrets[data] }}", secrets: { a: "env:A" } },
  ],
  ["WRONG_TYPE", "$.nodes[0].config.secrets", { secrets: ["token"] }],
  ["INVALID_VALUE", "$.nodes[0].config.secrets.token", { secrets: { token: "hunter2" } }, "reference"],
  ["INVALID_VALUE", "$.nodes[0].config.secrets.token", { secrets: { token: "file:relative" } }, "reference"],
  ["INVALID_VALUE", '$.nodes[0].config.secrets["a-b"]', { secrets: { "a-b": "env:A" } }],
  ["INVALID_VALUE", "$.nodes[0].config.url", { url: "ftp://a.example/" }],
  ["INVALID_VALUE", "$.nodes[0].config.url", { url: "/path" }],
  ["INVALID_VALUE", "$.nodes[0].config.url", { url: "/{{ data }}" }],
  ["INVALID_VALUE", "$.nodes[0].config.url", { url: "file://{{ data }}" }],
  ["INVALID_VALUE", "$.nodes[0].config.headers.A", { headers: { A: "a\nb" } }],
  ["INVALID_VALUE", "$.nodes[0].config.headers.A", { headers: { A: "{{ data }}\r\nX: y" } }],
  ["INVALID_VALUE", '$.nodes[0].config.headers["A B"]', { headers: { "A B": "x" } }],
  ["INVALID_VALUE", "$.nodes[0].config.headers.Host", { headers: { Host: "x" } }],
  ["INVALID_VALUE", '$.nodes[0].config.headers["Content-Length"]', { headers: { "Content-Length": "1" } }],
  ["INVALID_VALUE", "$.nodes[0].config.headers.accept", { headers: { Accept: "x", accept: "y" } }],
  ["INVALID_VALUE", "$.nodes[0].config.expect_status", { expect_status: "6xx" }],
  ["INVALID_VALUE", "$.nodes[0].config.expect_status", { expect_status: 99 }],
  ["INVALID_VALUE", "$.nodes[0].config.expect_status", { expect_status: [] }],
  ["INVALID_VALUE", "$.nodes[0].config.expect_status[1]", { expect_status: [200, "okay"] }],
];

describe("templates of an http node", () => {
  it.each(CASES)("%s at %s for %j", (code, path, config, says = "") => {
    const faults = faultsOf(one(config));
    const fault = faults.find((candidate) => candidate.code === code && candidate.path === path);
    expect(fault, JSON.stringify(faults)).toBeDefined();
    expect(fault?.message).toContain(says);
    expect(fault?.hint).not.toBe("");
    expect(JSON.stringify(faults)).not.toContain("hunter2");
  });

  it("are reported with all other faults, one each", () => {
    const config = {
      headers: { A: "{{ nope }}", B: "{{ 1 + }}{{ secrets.x }}" },
      body: ["{{"],
      metod: "GET",
    };
    const document = {
      name: "x",
      nodes: [step("a"), { id: "b" }, call(config)],
      edges: [{ from: "a", to: "z" }],
    };
    expect(faultsOf(document).map(({ code, path }) => `${code} ${path}`)).toEqual([
      "MISSING_PROPERTY $.nodes[1].type",
      "UNKNOWN_PROPERTY $.nodes[2].config.metod",
      "UNKNOWN_NODE $.edges[0].to",
      "EXPRESSION_UNKNOWN_VARIABLE $.nodes[2].config.headers.A",
      "EXPRESSION_SYNTAX $.nodes[2].config.headers.B",
      "SECRET_UNKNOWN $.nodes[2].config.headers.B",
      "TEMPLATE_SYNTAX $.nodes[2].config.body[0]",
    ]);
  });

  it("may name ancestors, which become the node's needs", () => {
    const config = {
      url: 'https://a.example/{{ nodes["a"].output.id }}',
      headers: { "X-B": "{{ nodes.b.output }}" },
      body: { deep: ['{{ nodes["a"].output }}'] },
      query: { q: "{{ secrets.nodes }}" },
      secrets: { nodes: "env:A" },
    };
    const nodes = [step("a"), step("b"), step("c"), call(config)];
    const edges = ["a>b", "b>c", "c>call"].map((text) => {
      const [from, to] = text.split(">");
      return { from, to };
    });
    const { ir } = compile({ name: "x", nodes, edges });
    expect(ir.nodes[3]?.needs).toEqual([0, 1]);
    expect(compile(ir).ir).toEqual(ir);
  });

  it("see secrets nowhere but in http configs", () => {
    const nodes = [{ id: "a", type: "transform", config: { expression: "secrets.token" } }];
    expect(faultsOf({ name: "x", nodes })).toMatchObject([{ code: "EXPRESSION_UNKNOWN_VARIABLE" }]);
    const bound = { body: "{{ [data].map(secrets, secrets.token) }}" };
    expect(faultsOf(one(bound))).toEqual([]);
  });

  it("leave what is no http node alone", () => {
    const nodes = [step("a", { config: { function_name: "f", params: { text: "{{ not CEL" } } })];
    expect(faultsOf({ name: "x", nodes })).toEqual([]);
  });
});

describe("an http node", () => {
  it("has its defaults in the IR", () => {
    const { ir } = compile(one({}));
    expect(ir.nodes[0]?.config).toEqual({
      url: "https://a.example/",
      method: "GET",
      headers: {},
      query: {},
      secrets: {},
      expect_status: "2xx",
      follow_redirects: true,
      response: "auto",
      include_set_cookie: false,
    });
    expect(ir.nodes[0]?.retry.max_attempts).toBe(3);
  });
});
