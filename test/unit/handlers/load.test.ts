import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { handlersOf, loadHandlers } from "../../../src/handlers/load.ts";

const folder = mkdtempSync(join(tmpdir(), "hitzero-load-"));
afterAll(() => rmSync(folder, { recursive: true }));

function moduleOf(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

test("a module that awaits for ever is named when its time is over", async () => {
  const file = moduleOf("hang.mjs", "await new Promise(() => {}); export const work = () => 1;");
  await expect(loadHandlers(file, 20)).rejects.toMatchObject({
    code: "HANDLERS_HANG",
    message: expect.stringContaining(`${file} was not imported within 0.02 s`),
  });
});

test.each([
  ["an error, with its place", "null_read.mjs", "const a = null;\na.b;", /null_read\.mjs:2:\d+\)$/],
  ["an object without a prototype", "bare.mjs", "throw Object.create(null);", /\[Object: null prototype\]/],
  [
    "a revoked proxy",
    "proxy.mjs",
    "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy;",
    /./,
  ],
])("a module that throws %s is broken", async (_kind, name, text, message) => {
  const file = moduleOf(name, text);
  const error = await loadHandlers(file).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "HANDLERS_BROKEN", message: expect.stringContaining(file) });
  expect((error as Error).message).toMatch(message);
});

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
