/** Ctrl-C while a server is away: the first one ends every command, by the signal's exit code, or that of an orderly stop. */
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Link, startLink } from "../support/link.ts";
import { killAll, makeFolder, PLAIN_HANDLERS, startCli } from "./cli.ts";
import { type CliEngine, connectCli, serve } from "./engine.ts";

const WORKFLOW = "name: left\nnodes: [{ id: asks, type: signal, config: { name: go } }]\nedges: []\n";
const RUN = "0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11";

let folder: string;
beforeAll(async () => {
  folder = await makeFolder();
  writeFileSync(join(folder, "left.yaml"), WORKFLOW);
});
afterAll(killAll);

describe("a server that takes connections and never answers", () => {
  /** Resolves once it has been connected to. */
  async function silentServer() {
    let connected = () => {};
    const reached = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const server = createServer((socket) => {
      socket.on("error", () => {});
      connected();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const env = {
      HITZERO_REDIS_URL: `redis://127.0.0.1:${port}`,
      HITZERO_DATABASE_URL: `postgres://user:password@127.0.0.1:${port}/none`,
    };
    return { env, reached, close: () => server.close() };
  }

  test.concurrent.each<[command: string, code: number | string]>([
    ["submit left.yaml", 130],
    [`run cancel ${RUN} --wait`, 130],
    // It holds nothing that is to be ended in order: the signal itself ends it.
    ["doctor", "SIGINT"],
    ["worker", 0],
    ["worker --processes 1", 0],
    ["supervisor", 0],
    ["up", 0],
  ])("%s: %s", async (command, code) => {
    const server = await silentServer();
    const cli = startCli(command.split(" "), { cwd: folder, env: server.env });
    await server.reached;
    cli.signal("SIGINT");
    const result = await cli.ended;
    server.close();
    expect(result.code, result.stdout + result.stderr).toBe(code);
  });
});

describe("Postgres goes away while a run is waited for", () => {
  let engine: CliEngine;
  let link: Link;
  let runId: string;

  beforeAll(async () => {
    engine = await connectCli("migrated");
    link = await startLink(engine.database.url);
    await serve(engine, 1, PLAIN_HANDLERS);
    const submitted = await engine.here(["submit", join(folder, "left.yaml"), "--json"]);
    runId = JSON.parse(submitted.stdout).run_id;
  });
  afterAll(async () => {
    await engine.stop();
    await link.close();
  });

  /** Takes Postgres away once the command has said this. */
  async function interrupted(args: string[], said: string | RegExp) {
    const cli = engine.start(args, { env: { HITZERO_DATABASE_URL: link.url }, cwd: folder });
    await cli.says(said);
    link.refuse();
    await cli.says("waiting for it");
    cli.signal("SIGINT");
    const result = await cli.ended;
    link.speak();
    return result;
  }

  test("run events --follow", async () => {
    const { code, stdout } = await interrupted(["run", "events", runId, "--follow", "--json"], "run_started");
    expect(code).toBe(130);
    const { error } = JSON.parse(stdout.trimEnd().split("\n").at(-1) as string);
    expect(error.code).toBe("INTERRUPTED");
  });

  test.each([["run watch"], ["submit"]])("%s, which says that the run goes on", async (command) => {
    const args = command === "submit" ? ["submit", "left.yaml", "--wait"] : ["run", "watch", runId];
    const { code, stderr } = await interrupted(args, "asks WAITING");
    expect(code, stderr).toBe(130);
    expect(stderr).toContain("goes on; see it with");
    expect(stderr).toContain("INTERRUPTED: SIGINT came");
  });
});
