import { v7 as uuidv7, validate, version } from "uuid";
import { expect, test } from "vitest";
import { childRunId } from "../../../src/engine/nodes/child_runs.ts";

const PARENT = "0192f0c1-2b3c-7d4e-8f50-112233445566";

test("a child run's id follows from parent, node and scope, so that whoever repeats its start means the same run", () => {
  expect(childRunId(PARENT, "sub", "each:1")).toBe(childRunId(PARENT, "sub", "each:1"));
  expect(childRunId(PARENT.toUpperCase(), "sub", "each:1")).toBe(childRunId(PARENT, "sub", "each:1"));
  const others = [
    childRunId(PARENT, "sub", "each:1"),
    childRunId(PARENT, "sub", "each:2"),
    childRunId(PARENT, "other", "each:1"),
    childRunId("0192f0c1-2b3c-7d4e-8f50-112233445567", "sub", "each:1"),
  ];
  expect(new Set(others).size).toBe(4);
  // Children on record were made by this function: it may never answer another id.
  expect(others[0]).toBe("0192f0c1-2b3c-7cf5-a3f1-c92481e8d917");
});

test("all runs of a family are UUIDv7 of one time, each with an id of its own", () => {
  const seen = new Set<string>();
  for (let family = 0; family < 200; family += 1) {
    const root = uuidv7({ msecs: family * 1_400_000_000_003 });
    for (let run = root, depth = 0; depth < 16; depth += 1) {
      run = childRunId(run, `node_${family % 7}`, depth % 3 === 0 ? "" : `each:${depth}/poll:${family}`);
      expect(validate(run)).toBe(true);
      expect([version(run), run.slice(0, 13)]).toEqual([7, root.slice(0, 13)]);
      expect("89ab").toContain(run.charAt(19));
      seen.add(run);
    }
  }
  expect(seen.size).toBe(200 * 16);
});
