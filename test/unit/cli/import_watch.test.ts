import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";

const WATCH = resolve(import.meta.dirname, "../../../src/cli/processes/import_watch.ts");
const folder = mkdtempSync(join(tmpdir(), "hitzero-import-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Imports a module in a process, within 300 ms; @returns how the process ended, and what it said. */
async function imported(text: string) {
  const file = join(folder, "handlers.mjs");
  writeFileSync(file, text);
  const script = `import(${JSON.stringify(WATCH)}).then(({ importHandlers }) => importHandlers(${JSON.stringify(file)}, () => false, 300))`;
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), "--eval", script]);
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (data: string) => {
      said += data;
    });
  const [code, signal] = await once(child, "close");
  return { file, end: signal ?? code, said };
}

test("a module that ends the process is named, and the process does not end as if all were well", async () => {
  const { file, end, said } = await imported("process.exit(0);");
  expect(end).toBe(2);
  expect(said).toContain(`error HANDLERS_EXITED: handler module ${file} ended the process (exit code 0)`);
});

test("a module that blocks the process is named when its time is over", async () => {
  const { file, end, said } = await imported("for (;;) {}");
  expect(end).toBe("SIGKILL");
  expect(said).toContain(`error HANDLERS_HANG: handler module ${file} blocks its process`);
});
