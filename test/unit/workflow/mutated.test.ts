/** Documents with random damage are refused in words, never by a crash. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, it } from "vitest";
import { InvalidInputError } from "../../../src/base/errors.ts";
import { compile, digestOf } from "../../../src/workflow/compile/compile.ts";

const file: unknown = JSON.parse(readFileSync(new URL("control_flow.json", import.meta.url), "utf8"));
const { ir } = compile(file);

type Container = Record<string, unknown>;

/** Every place of a document: its container and key. */
function placesOf(value: unknown, found: [Container, string][] = []): [Container, string][] {
  if (typeof value !== "object" || value === null) return found;
  for (const [key, item] of Object.entries(value)) {
    found.push([value as Container, key]);
    placesOf(item, found);
  }
  return found;
}

const ids = (file as { nodes: { id: string }[] }).nodes.map(({ id }) => id);
const replacement = fc.oneof(
  fc.integer({ min: -2, max: 17 }),
  fc.constantFrom<unknown>(
    null,
    true,
    "",
    "x",
    [],
    {},
    [0],
    ["each"],
    { quorum: 2 },
    "loop",
    "map",
    "1 +",
    "nodes.bill.output",
  ),
  fc.constantFrom(...ids, "price", "bill"),
);
const damage = fc.array(
  fc.record({
    place: fc.nat(),
    kind: fc.constantFrom("replace", "replace", "delete", "copy"),
    value: replacement,
  }),
  { minLength: 1, maxLength: 4 },
);

function damaged(
  document: unknown,
  changes: readonly { place: number; kind: string; value: unknown }[],
): unknown {
  const copy: unknown = structuredClone(document);
  for (const { place, kind, value } of changes) {
    const places = placesOf(copy);
    const [container, key] = places[place % places.length] as [Container, string];
    const [other, otherKey] = places[(place * 31) % places.length] as [Container, string];
    if (kind === "delete")
      Array.isArray(container) ? container.splice(Number(key), 1) : delete container[key];
    else container[key] = kind === "copy" ? structuredClone(other[otherKey]) : value;
  }
  return copy;
}

it.each([
  ["workflow file", file],
  ["IR", ir],
])("a damaged %s", (_, document) => {
  fc.assert(
    fc.property(damage, (changes) => {
      const broken = damaged(document, changes);
      try {
        const compiled = compile(broken);
        expect(compile(compiled.ir).digest).toBe(compiled.digest);
        if (typeof broken === "object" && "format" in (broken as object))
          expect(digestOf(broken)).toBe(compiled.digest);
      } catch (error) {
        if (!(error instanceof InvalidInputError)) throw error;
        expect(error.faults.length).toBeGreaterThan(0);
      }
    }),
    { numRuns: 300 },
  );
});
