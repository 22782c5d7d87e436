/** The costs of reading, checking and compiling a file grow with its length, not faster: twice the file, twice the work. */
import { afterAll, describe, expect, it } from "vitest";
import { InvalidInputError } from "../../../src/base/errors.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { parseWorkflowText } from "../../../src/workflow/file/parse.ts";
import { WorkCounter } from "../../support/work.ts";
import { edge, loop, map, step, transform, workflow } from "./documents.ts";

const counter = new WorkCounter();
afterAll(() => counter.close());

const SIZE = 120;
/** What is done once whatever the size, and what grows with the logarithm, keep it from being exactly two. */
const MOST = 2.6;

const range = (size: number) => Array.from({ length: size }, (_item, index) => index);
const ids = (size: number) => range(size).map((index) => `n${index}`);
const lines = (size: number, line: (index: number) => string) => range(size).map(line).join("");
const HEAD = "name: x\nnodes:\n  - {id: a, type: parallel}\nvars:\n";
const chain = (size: number) => range(size - 1).map((index) => edge(`n${index}`, `n${index + 1}`));
const graph = (size: number, edges: object[], make = (id: string, _index: number): object => step(id)) => ({
  name: "x",
  nodes: ids(size).map(make),
  edges,
});

const YAML: Record<string, (size: number) => string> = {
  "aliases of one anchor": (size) => `${HEAD}  a: &a 1\n  b: [${"*a, ".repeat(size)}1]\n`,
  "aliases of aliases": (size) =>
    `${HEAD}  a0: &a0 [1]\n${lines(size, (n) => `  a${n + 1}: &a${n + 1} [*a${n}, *a${n}]\n`)}`,
  "aliases without an anchor": (size) => `${HEAD}  b: [${"*a, ".repeat(size)}1]\n`,
  anchors: (size) => HEAD + lines(size, (n) => `  k${n}: &a${n} 1\n`),
  "keys in lines": (size) => HEAD + lines(size, (n) => `  k${n}: 1\n`),
  "keys in braces": (size) => `${HEAD}  v: {${lines(size, (n) => `k${n}: 1, `)}}\n`,
  "keys that stand twice": (size) => `${HEAD}  v: {${"k: 1, ".repeat(size)}}\n`,
  items: (size) => `${HEAD}  v:\n${"    - 1\n".repeat(size)}`,
  tags: (size) => `${HEAD}  v:\n${"    - !!what 1\n".repeat(size)}`,
  comments: (size) => HEAD + "# so\n".repeat(size),
  errors: (size) => HEAD + "@: [\n".repeat(size),
};

const DOCUMENTS: Record<string, (size: number) => object> = {
  keys: (size) => workflow("a", "", { vars: Object.fromEntries(ids(size).map((id) => [id, 1])) }),
  "unknown properties": (size) => workflow("a", "", Object.fromEntries(ids(size).map((id) => [`q${id}`, 1]))),
  "unknown properties of a config": (size) => ({
    name: "x",
    nodes: [
      transform("a", "1"),
      { id: "b", type: "parallel", config: Object.fromEntries(ids(size).map((id) => [id, 1])) },
    ],
  }),
  "a chain": (size) => graph(size, chain(size)),
  "a fan": (size) =>
    graph(
      size,
      ids(size)
        .slice(1)
        .map((to) => edge("n0", to)),
    ),
  "a join": (size) =>
    graph(
      size,
      ids(size)
        .slice(1)
        .map((from) => edge(from, "n0")),
    ),
  conditions: (size) =>
    graph(
      size,
      ids(size)
        .slice(1)
        .map((to, n) => edge("n0", to, { condition: `output.x == ${n}` })),
    ),
  "a cycle": (size) => graph(size, [...chain(size), edge(`n${size - 1}`, "n0")]),
  "cycles through one node": (size) =>
    graph(
      size,
      ids(size)
        .slice(1)
        .flatMap((id) => [edge("n0", id), edge(id, "n0")]),
    ),
  "unknown ends": (size) =>
    graph(
      size,
      ids(size).map((from) => edge(from, `m${from}`)),
    ),
  "equal ids": (size) => ({ name: "x", nodes: range(size).map(() => step("a")) }),
  loops: (size) => graph(size, chain(size), (id) => loop(id, id, { condition: "output.again" })),
  maps: (size) => graph(size, chain(size), (id) => map(id, workflow(`b${id}`))),
  references: (size) =>
    graph(size, chain(size), (id, n) => (n < 2 ? step(id) : transform(id, `nodes["n${n - 2}"].output`))),
  "early references": (size) =>
    graph(size, [...chain(size), edge("n0", "n2")], (id, n) =>
      n < 2
        ? step(id)
        : {
            ...transform(id, `nodes["n${n - 2}"].output`),
            trigger_rule: n === 2 ? "one_success" : "all_done",
          },
    ),
  withdrawals: (size) => graph(size, [], (id, n) => step(id, n === 0 ? { cancels: ["*"] } : {})),
  guards: (size) => graph(size, chain(size), (id, n) => step(id, n === 0 ? { queue: "q" } : { holds: [] })),
};

/** Faults are an answer, too. */
function attempt(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
  }
}

function growthOf(work: (size: number) => void): number {
  // What is made once, as compiled environments are, is made before.
  work(SIZE / 10);
  const once = counter.callsIn(() => work(SIZE));
  return counter.callsIn(() => work(2 * SIZE)) / once;
}

describe("twice the file is twice the work", () => {
  it.each(Object.entries(YAML))("YAML of %s", (_name, textOf) => {
    expect(
      growthOf((size) => attempt(() => compile(parseWorkflowText(textOf(size), "x.yaml")))),
    ).toBeLessThan(MOST);
  });

  it.each(Object.entries(DOCUMENTS))("a document of %s", (_name, documentOf) => {
    expect(
      growthOf((size) => {
        const text = JSON.stringify(documentOf(size));
        attempt(() => compile(parseWorkflowText(text, "x.json")));
      }),
    ).toBeLessThan(MOST);
  });
});

it("counts work, so that a search among all that came before is seen", () => {
  const growth = growthOf((size) => {
    const seen: number[] = [];
    for (const number of range(size)) if (!seen.some((other) => other === number)) seen.push(number);
  });
  expect(growth).toBeGreaterThan(3.5);
});
