/** A bag holds what a set holds, in no order, whatever comes and goes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Bag } from "../../../src/base/bag.ts";

const newMembers = (count: number) => Array.from({ length: count }, (_, id) => ({ id, at: -1 }));
const ids = (members: Iterable<{ id: number }>) => [...members].map(({ id }) => id).sort((a, b) => a - b);

test("it holds what a set holds after the same changes", () => {
  const change = fc.record({
    id: fc.nat(7),
    does: fc.constantFrom("add", "delete", "delete", "add", "clear"),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const members = newMembers(8);
      const set = new Set<(typeof members)[number]>();
      const bag = new Bag<"at", (typeof members)[number]>("at");
      for (const { id, does } of changes) {
        const member = members[id] as (typeof members)[number];
        if (does === "clear") {
          set.clear();
          bag.clear();
        } else if (does === "add") {
          set.add(member);
          bag.add(member);
        } else expect(bag.delete(member)).toBe(set.delete(member));
        expect(bag.size).toBe(set.size);
        expect(ids(bag)).toEqual(ids(set));
        expect(members.map((one) => bag.has(one))).toEqual(members.map((one) => set.has(one)));
      }
    }),
  );
});

test("members may be taken out while it is gone through", () => {
  const bag = new Bag<"at", ReturnType<typeof newMembers>[number]>("at");
  for (const member of newMembers(5)) bag.add(member);
  const seen: number[] = [];
  for (const member of bag) {
    seen.push(member.id);
    bag.delete(member);
  }
  expect(seen).toEqual([0, 1, 2, 3, 4]);
  expect(bag.size).toBe(0);
});
