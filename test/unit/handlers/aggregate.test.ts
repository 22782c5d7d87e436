import { expect, test } from "vitest";
import { aggregate } from "../../../src/handlers/aggregate.ts";
import type { Execution } from "../../../src/handlers/types.ts";

function run(config: object, data: unknown, predecessors: string[] = ["a"]): unknown {
  const ids = [...predecessors, "total"];
  return aggregate({
    data,
    isJoin: predecessors.length > 1,
    node: { config, in: predecessors.map((_id, index) => index) },
    ir: { nodes: ids.map((id) => ({ id })) },
    sources: predecessors.map((_id, index) => index),
  } as unknown as Execution);
}

const orders = [{ order: { price: 3 } }, { order: { price: 4.5 } }];

test.each([
  [{ operation: "sum", field: "order.price" }, orders, 7.5],
  [{ operation: "avg", field: "order.price" }, orders, 3.75],
  [{ operation: "min" }, [3, 1, 2], 1],
  [{ operation: "max" }, [3, 1, 2], 3],
  [{ operation: "count" }, orders, 2],
  [{ operation: "sum" }, [], 0],
  [{ operation: "avg" }, [], null],
  [{ operation: "min" }, [], null],
  [{ operation: "count" }, null, 0],
  [{ strategy: "concat" }, [1, [2]], [1, [2]]],
  [{ strategy: "union" }, [{ a: 1, b: 2 }, 3, { b: 2, a: 1 }, 3], [{ a: 1, b: 2 }, 3]],
  [{ strategy: "merge" }, [{ a: 1, b: 1 }, { b: 2 }], { a: 1, b: 2 }],
])("%j of a list", (config, data, expected) => {
  expect(run(config, data)).toEqual(expected);
});

test("several predecessors: their outputs in order, lists opened one level", () => {
  expect(run({ strategy: "concat" }, { y: [1, [2]], x: 3 }, ["x", "y"])).toEqual([3, 1, [2]]);
  expect(run({ strategy: "merge" }, { x: { n: 1 }, y: { n: 2 } }, ["x", "y"])).toEqual({ n: 2 });
});

test("merge keeps a key named __proto__ as data", () => {
  const merged = run({ strategy: "merge" }, [JSON.parse('{"__proto__": {"polluted": true}}')]) as object;
  expect(Object.hasOwn(merged, "__proto__")).toBe(true);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test.each([
  [{ operation: "sum" }, [1, "2"], "AGGREGATE_NOT_A_NUMBER"],
  [{ operation: "avg", field: "price" }, [{ price: 1 }, {}], "AGGREGATE_NOT_A_NUMBER"],
  [{ operation: "sum", field: "constructor.length" }, [{}], "AGGREGATE_NOT_A_NUMBER"],
  [{ strategy: "merge" }, [{ a: 1 }, 2], "AGGREGATE_NOT_AN_OBJECT"],
])("%j refuses %j", (config, data, code) => {
  expect(() => run(config, data)).toThrow(expect.objectContaining({ code }));
});
