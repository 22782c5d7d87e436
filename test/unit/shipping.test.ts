/** Files that nothing here executes: the compose file, the Dockerfile and the CI's workflow say what exists. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { addMigrate } from "../../src/cli/commands/migrate.ts";
import { addSupervisor } from "../../src/cli/commands/supervisor.ts";
import { addWorker } from "../../src/cli/commands/worker.ts";
import type { Act } from "../../src/cli/program.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(resolve(ROOT, path), "utf8");

interface Service {
  image: string;
  build?: string;
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  healthcheck?: { test: string[] };
  restart?: string;
  deploy?: { replicas: string };
  depends_on?: Record<string, { condition: string }>;
}

interface Compose {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
}

/** Variables at their defaults, as compose fills them in; a default within braces has no braces of its own. */
function withDefaults(text: string): string {
  return text.replaceAll(/(?<!\$)\$\{\w+:-([^}]*)\}/g, "$1");
}

/** Has the command line parse the words; answers the command that would run. */
async function commandOf(words: readonly string[]): Promise<string> {
  let chosen = "";
  const act: Act =
    () =>
    async (...args) => {
      chosen = (args.at(-1) as Command).name();
    };
  const program = new Command("hitzero").exitOverride();
  for (const add of [addMigrate, addSupervisor, addWorker]) add(program, act);
  for (const command of program.commands) command.exitOverride().configureOutput({ outputError: () => {} });
  await program.configureOutput({ outputError: () => {} }).parseAsync([...words], { from: "user" });
  return chosen;
}

describe("docker-compose.yml", () => {
  const { services, volumes } = parse(withDefaults(read("docker-compose.yml")), { merge: true }) as Compose;

  test("has the two servers, and the processes of hitzero", () => {
    expect(Object.keys(services).sort()).toEqual(["migrate", "postgres", "redis", "supervisor", "worker"]);
    expect([services.redis?.image, services.postgres?.image]).toEqual(["redis:7", "postgres:15"]);
    expect(services.worker?.deploy?.replicas).toBe("2");
  });

  test("Redis keeps every write and evicts nothing", () => {
    const words = services.redis?.command ?? [];
    const settings = Object.fromEntries(
      words.flatMap((word, at) => (word.startsWith("--") ? [[word, words[at + 1]]] : [])),
    );
    expect(words[0]).toBe("redis-server");
    expect(settings).toEqual({
      "--appendonly": "yes",
      "--appendfsync": "everysec",
      "--maxmemory-policy": "noeviction",
      "--save": "",
    });
  });

  test("the servers say when they are healthy, keep their data, and are open to this machine only", () => {
    for (const name of ["redis", "postgres"]) {
      const { healthcheck, volumes: mounts = [], ports = [] } = services[name] as Service;
      expect(healthcheck?.test[1], name).toMatch(/redis-cli ping|pg_isready/);
      expect(Object.keys(volumes)).toContain(mounts[0]?.split(":")[0]);
      expect(ports).toHaveLength(1);
    }
    const ports = Object.values(services).flatMap((service) => service.ports ?? []);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test.each(["migrate", "supervisor", "worker"])(
    "%s runs a command that exists, once its servers are there",
    async (name) => {
      const { command, environment, depends_on, build } = services[name] as Service;
      expect(await commandOf(command ?? [])).toBe(name);
      expect(build).toBe(".");
      expect(new URL(environment?.HITZERO_REDIS_URL ?? "").host).toBe("redis:6379");
      expect(new URL(environment?.HITZERO_DATABASE_URL ?? "").host).toBe("postgres:5432");
      const after = Object.fromEntries(
        Object.entries(depends_on ?? {}).map(([on, { condition }]) => [on, condition]),
      );
      expect(after).toEqual(
        name === "migrate"
          ? { postgres: "service_healthy" }
          : {
              redis: "service_healthy",
              postgres: "service_healthy",
              migrate: "service_completed_successfully",
            },
      );
    },
  );

  test("the commands are checked for what they say", async () => {
    await expect(commandOf(["work"])).rejects.toThrow("unknown command");
    await expect(commandOf(["worker", "--handler", "x.ts"])).rejects.toThrow("unknown option");
  });

  test("migrate runs once, and the default handlers exist", () => {
    expect(services.migrate?.restart).toBe("on-failure");
    const { volumes: mounts = [], command = [] } = services.worker as Service;
    const [folder, mounted] = (mounts[0] as string).split(":") as [string, string];
    const handlers = command.at(-1) as string;
    expect(existsSync(resolve(ROOT, folder, handlers.replace(`${mounted}/`, "")))).toBe(true);
  });

  test("names no secret but a default for development", () => {
    const passwords = read("docker-compose.yml").matchAll(/\$\{\w*PASSWORD\b[^}]*\}|:[^\s:@/]+@/g);
    expect([...passwords].map(([text]) => text.replace(/^:|@$/g, ""))).toEqual(
      Array.from({ length: 2 }, () => `\${POSTGRES_PASSWORD:-development}`),
    );
  });
});

describe("Dockerfile", () => {
  const lines = read("Dockerfile").split("\n");
  const ignored = read(".dockerignore").split("\n").filter(Boolean);
  const copies = lines
    .filter((line) => /^COPY (?!--from)/.test(line))
    .flatMap((line) => line.split(/\s+/).slice(1, -1));

  test("copies what exists and is not ignored", () => {
    expect(ignored[0]).toBe("*");
    for (const path of copies) {
      expect(existsSync(resolve(ROOT, path)), path).toBe(true);
      expect(ignored, path).toContain(`!${path}`);
    }
    for (const line of ignored.slice(1)) expect(copies, line).toContain(line.slice(1));
  });

  test("ships what the package ships, and what it runs exists", () => {
    const { files, bin } = JSON.parse(read("package.json")) as { files: string[]; bin: { hitzero: string } };
    const final = lines.slice(lines.findLastIndex((line) => line.startsWith("FROM")));
    // Documents, and the workflow of `demo`, which brings servers of its own.
    const needless = ["README.md", "CHANGELOG.md", "test_data/montage.json"];
    for (const path of files.filter((file) => !needless.includes(file) && !file.startsWith("!")))
      expect(final.join("\n"), path).toMatch(new RegExp(`^COPY .*\\b${path}\\b`, "m"));
    expect(final.join("\n")).toContain(`/hitzero/${bin.hitzero} /usr/local/bin/hitzero`);
    expect(final).toContain("USER node");
    expect(
      lines
        .filter((line) => line.startsWith("FROM"))
        .every((line) => /^FROM node:20-slim( AS \w+)?$/.test(line)),
    ).toBe(true);
    expect(lines.join("\n")).toContain("npm ci --omit=dev");
  });
});

test("the CI does what a developer does, on both versions of Node", () => {
  const ci = parse(read(".github/workflows/ci.yml")) as {
    permissions: object;
    jobs: { test: { strategy: { matrix: object }; steps: { run?: string }[] } };
  };
  const { strategy, steps } = ci.jobs.test;
  expect(strategy.matrix).toEqual({ node: [20, 22] });
  expect(steps.flatMap(({ run }) => run ?? [])).toEqual(["npm ci && npm test"]);
  expect(ci.permissions).toEqual({ contents: "read" });
});
