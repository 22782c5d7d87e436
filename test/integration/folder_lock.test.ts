import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, inject, test } from "vitest";
import { tryFolderLock, withFolderLock } from "../../src/local/folder_lock.ts";
import { until } from "../support/until.ts";

/** Of the build: processes that compile TypeScript take three times as long to start. */
const LOCK_MODULE = fileURLToPath(new URL("../.built/folder_lock.js", import.meta.url));

const newFolder = () => mkdtemp(join(inject("runFolder"), "lock-"));

/** Runs a module's text in another process, with the lock's functions and the folder at hand. */
function inProcess(folder: string, body: string) {
  const text = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { tryFolderLock, withFolderLock } from ${JSON.stringify(LOCK_MODULE)};
    const folder = ${JSON.stringify(folder)};
    const counter = folder + "/counter";
    ${body}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", text], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => resolve(code));
  });
  const said = new Promise<void>((resolve) => {
    child.stdout.once("data", () => resolve());
  });
  return { child, ended, said };
}

test("only one of many holds the lock at a time, over processes and within one", async () => {
  const folder = await newFolder();
  await writeFile(join(folder, "counter"), "0");
  const body = `
    await Promise.all([1, 2].map(async () => {
      for (let i = 0; i < 20; i++) {
        await withFolderLock(folder, 60_000, () => {}, async () => {
          const count = Number(readFileSync(counter, "utf8"));
          await new Promise((resolve) => setImmediate(resolve));
          writeFileSync(counter, String(count + 1));
        });
      }
    }));`;
  const codes = await Promise.all([1, 2, 3, 4].map(() => inProcess(folder, body).ended));
  expect(codes).toEqual([0, 0, 0, 0]);
  expect(await readFile(join(folder, "counter"), "utf8")).toBe("160");
  expect((await readdir(folder)).filter((name) => name.includes("lock"))).toHaveLength(1);
});

test("the death of its holder frees the lock", async () => {
  const folder = await newFolder();
  const holder = inProcess(
    folder,
    `tryFolderLock(folder); process.stdout.write("held"); setInterval(() => {}, 1000);`,
  );
  await holder.said;
  expect(tryFolderLock(folder)).toBeUndefined();
  holder.child.kill("SIGKILL");
  await holder.ended;
  const lock = await until(() => tryFolderLock(folder), "the lock of the dead is free");
  expect(tryFolderLock(folder)).toBeUndefined();
  lock.release();
});

test("a process that slept on an old sight of the lock does not get it", async () => {
  const folder = await newFolder();
  tryFolderLock(folder)?.release();
  const held = tryFolderLock(folder);
  expect(held).toBeDefined();
  // What the sleeper sees on waking: number 1 is gone, so it could be created, but 2 is there.
  await expect(readFile(join(folder, "lock.1"))).rejects.toMatchObject({ code: "ENOENT" });
  expect(tryFolderLock(folder)).toBeUndefined();
  expect((await readdir(folder)).filter((name) => name.startsWith("lock"))).toEqual(["lock.2"]);
  held?.release();
});

test("waiting has a limit, with an error that names the holder", async () => {
  const folder = await newFolder();
  const lock = tryFolderLock(folder);
  let waited = 0;
  const waiting = withFolderLock(
    folder,
    0,
    () => waited++,
    async () => {},
  );
  await expect(waiting).rejects.toMatchObject({
    code: "LOCAL_SERVERS_BUSY",
    exitCode: 3,
    hint: expect.stringContaining(String(process.pid)),
  });
  expect(waited).toBe(1);
  lock?.release();
});
