import { expect, test } from "vitest";
import { handlersOf } from "../../../src/handlers/load.ts";

test.each([
  ["function*", function* work() {}],
  ["async function*", async function* work() {}],
])("a handler that is a %s is refused when it is loaded", (_kind, work) => {
  for (const exports of [{ work }, { default: { work } }])
    expect(() => handlersOf(exports)).toThrow(
      expect.objectContaining({
        code: "HANDLER_IS_GENERATOR",
        message: expect.stringContaining("handler work "),
      }),
    );
});
