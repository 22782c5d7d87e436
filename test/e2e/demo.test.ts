/** `demo` from nothing to nothing. */
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { killAll, makeFolder, startCli } from "./cli.ts";
import { processesIn } from "./processes.ts";

let folder: string;
beforeEach(async () => {
  folder = await makeFolder();
});
afterEach(killAll);

const demo = (...more: string[]) => startCli(["demo", ...more], { cwd: folder, env: { TMPDIR: folder } });

/** Of the demo's own: caches of tools that take TMPDIR, too, may stay. */
function expectNothingLeft(): void {
  expect(readdirSync(folder).filter((name) => name.startsWith("hitzero-"))).toEqual([]);
  expect(processesIn(folder)).toEqual([]);
}

test("runs the recorded workflow, shows what came of it, and removes everything", async () => {
  const { stdout, stderr, code } = await demo("--scale", "0.01").ended;
  expect(code, stderr).toBe(0);
  expect(stdout.match(/^✅ m\S+_ID\d+ COMPLETED/gm)).toHaveLength(103);
  expect(stdout).toMatch(/run \S+ COMPLETED/);
  expect(stdout).toContain("103 COMPLETED of 103");
  expect(stdout).toMatch(/slowest path/);
  expect(stdout).toContain("from hitzero.v_run_timeline");
  expect(stdout).toMatch(/^montage\s+COMPLETED/m);
  expect(stdout).toContain("WfCommons");
  expectNothingLeft();
});

test.each(["starting Redis", "mProject_ID0000001 RUNNING"])(
  "Ctrl-C after %o leaves nothing",
  async (moment) => {
    const process = demo("--scale", "1");
    await process.says(moment);
    process.signal("SIGINT");
    expect((await process.ended).code).toBe(130);
    expectNothingLeft();
  },
);
