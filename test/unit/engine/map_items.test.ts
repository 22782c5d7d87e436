import { expect, test } from "vitest";
import { LIMITS } from "../../../src/engine/limits.ts";
import { moreItems } from "../../../src/engine/nodes/map_items.ts";

const execution = { node: { id: "each" }, nodeIndex: 2, scope: "", runId: "run" };

/** The map has three items as far as its run knows. */
const services = (stored: string) => ({
  limits: LIMITS,
  readFields: async () => ["3,3,0,3,0,0,0,0,0,0"],
  readBlob: async () => stored,
});

test.each([
  ["behind those that it has", "[4,7,5]"],
  ["in the place of those that a lost step stored", "[4,7,5,7,5]"],
])("items are added to an open map %s", async (_where, stored) => {
  const added = await moreItems(execution as never, [9], services(stored) as never);
  expect(added).toEqual({ added: 1, blobs: [{ name: "i2.0", value: "[4,7,5,9]" }] });
});
