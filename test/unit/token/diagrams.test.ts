/** The README's state diagrams say what the tables say. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { NODE_TRANSITIONS, RUN_TRANSITIONS } from "../../../src/token/lifecycle.ts";

const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
const diagrams = [...readme.matchAll(/```mermaid\nstateDiagram-v2\n([\s\S]*?)```/g)].map(
  (match) => match[1] as string,
);

function drawn(diagram: string): string[] {
  return [...diagram.matchAll(/^\s*(\w+) --> (\w+)/gm)].map(([, from, to]) => `${from} ${to}`).sort();
}

function legal(table: Readonly<Record<string, readonly string[]>>): string[] {
  return Object.entries(table)
    .flatMap(([from, targets]) => targets.map((to) => `${from} ${to}`))
    .sort();
}

test.each([
  ["runs", 0, RUN_TRANSITIONS],
  ["node executions", 1, NODE_TRANSITIONS],
] as const)("the diagram of %s", (_name, index, table) => {
  expect(drawn(diagrams[index] as string)).toEqual(legal(table));
});
