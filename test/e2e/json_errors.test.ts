/** Whatever the command: with --json an error is one JSON document on stdout, with code, message, hint and faults, and nothing else is printed. */
import { beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../src/local/free_port.ts";
import { makeFolder } from "./cli.ts";
import { runHere } from "./here.ts";

/** Both servers are away. */
const env: Record<string, string> = {};
let folder: string;

beforeAll(async () => {
  const [redis, postgres] = [await freePort(), await freePort()];
  env.HITZERO_REDIS_URL = `redis://127.0.0.1:${redis}`;
  env.HITZERO_DATABASE_URL = `postgres://u:s3cret-w0rd@127.0.0.1:${postgres}/x`;
  folder = await makeFolder();
});

const RUN = "01900000-0000-7000-8000-000000000000";

/** Each command, as it is called, and the code of what goes wrong. */
const COMMANDS: Record<string, [args: string[], code: string]> = {
  up: [["--handlers", "absent.ts"], "SERVER_UNREACHABLE"],
  demo: [["more"], "USAGE"],
  init: [["/dev/null/x"], "FILE_UNWRITABLE"],
  migrate: [[], "SERVER_UNREACHABLE"],
  compile: [["absent.yaml"], "FILE_NOT_FOUND"],
  submit: [["absent"], "SERVER_UNREACHABLE"],
  worker: [[], "SERVER_UNREACHABLE"],
  supervisor: [[], "SERVER_UNREACHABLE"],
  "run list": [[], "SERVER_UNREACHABLE"],
  "run show": [[RUN], "SERVER_UNREACHABLE"],
  "run watch": [[RUN], "SERVER_UNREACHABLE"],
  "run events": [[RUN], "SERVER_UNREACHABLE"],
  "run graph": [[RUN], "SERVER_UNREACHABLE"],
  "run signal": [[RUN, "go"], "SERVER_UNREACHABLE"],
  "run cancel": [[RUN], "SERVER_UNREACHABLE"],
  "run pause": [[RUN], "SERVER_UNREACHABLE"],
  "run resume": [[RUN], "SERVER_UNREACHABLE"],
  "workflow register": [["absent.yaml"], "FILE_NOT_FOUND"],
  "workflow list": [[], "SERVER_UNREACHABLE"],
  "dead-letter list": [[], "SERVER_UNREACHABLE"],
  "dead-letter show": [[RUN, "a"], "SERVER_UNREACHABLE"],
  "dead-letter redrive": [[RUN, "a"], "SERVER_UNREACHABLE"],
  "dead-letter discard": [[RUN, "a"], "SERVER_UNREACHABLE"],
  doctor: [["more"], "USAGE"],
  "clear-redis": [[], "SERVER_UNREACHABLE"],
  bench: [[], "SERVER_UNREACHABLE"],
  completion: [["tcsh"], "USAGE"],
};

const run = (args: string[]) => runHere([...args, "--json"], { cwd: folder, env });

function expectError(result: Awaited<ReturnType<typeof run>>, code: string): void {
  const text = expect.stringMatching(/./);
  expect(JSON.parse(result.stdout)).toEqual({
    error: { code, message: text, hint: text, faults: expect.any(Array) },
  });
  expect(result.stderr).toBe("");
  expect(result.stdout).not.toContain("s3cret-w0rd");
  expect(result.code).toBe(code === "SERVER_UNREACHABLE" ? 3 : 2);
}

test("the table has every command", async () => {
  const { stdout } = await run(["completion", "bash"]);
  const places = (JSON.parse(stdout) as { places: { place: string }[] }).places.map(({ place }) => place);
  const leaves = places.filter(
    (place) => place !== "" && !places.some((other) => other.startsWith(`${place} `)),
  );
  expect(Object.keys(COMMANDS).sort()).toEqual(leaves.sort());
});

describe("an error in JSON", () => {
  test.each(Object.entries(COMMANDS))("%s", async (command, [args, code]) => {
    expectError(await run([...command.split(" "), ...args]), code);
  });

  test.each(Object.keys(COMMANDS))("%s with an unknown flag", async (command) => {
    expectError(await run([...command.split(" "), "--no-such-flag"]), "USAGE");
  });
});

test("doctor has its findings instead", async () => {
  const { code, stdout, stderr } = await run(["doctor"]);
  expect([code, stderr]).toEqual([3, ""]);
  const failed = (JSON.parse(stdout) as { checks: { status: string }[] }).checks.filter(
    ({ status }) => status === "fail",
  );
  expect(failed.length).toBeGreaterThan(0);
});
