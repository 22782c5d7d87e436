/** Ctrl-C while servers are still being fetched. */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { killAll, makeFolder, startCli } from "./cli.ts";
import { processesIn } from "./processes.ts";

afterEach(killAll);

const PATH = process.env.PATH ?? "";
const onPath = (name: string) => PATH.split(delimiter).some((folder) => existsSync(join(folder, name)));
const fetches = existsSync("/usr/bin/apt-get") && !onPath("redis-server") && !onPath("valkey-server");

test.skipIf(!fetches).each(["up", "demo"])(
  "%s: the first one is answered at once, and the download is given up",
  async (command) => {
    const folder = await makeFolder();
    const programs = join(folder, "bin");
    mkdirSync(programs);
    for (const name of ["apt-get", "apt-cache"]) {
      // Longer than the test may last.
      writeFileSync(join(programs, name), "#!/bin/sh\nexec sleep 600\n");
      chmodSync(join(programs, name), 0o755);
    }
    const cli = startCli([command], {
      cwd: folder,
      env: {
        PATH: `${programs}${delimiter}${PATH}`,
        HITZERO_CACHE: join(folder, "cache"),
        TMPDIR: folder,
      },
    });
    await cli.says("fetching Redis");
    process.kill(cli.pid, "SIGINT");
    await cli.says("stopping");
    const { code, stderr } = await cli.ended;
    expect(code, stderr).toBe(command === "up" ? 0 : 130);
    expect(stderr).not.toContain("error ");
    expect(processesIn(folder)).toEqual([]);
  },
);
