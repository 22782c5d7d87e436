import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Redaction, resolveSecrets } from "../../../src/handlers/secrets.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { always, failure, run, serve } from "./http_support.ts";

const folder = mkdtempSync(join(tmpdir(), "hitzero-secrets-"));
afterAll(() => rmSync(folder, { recursive: true }));
const allowFolder = { HITZERO_SECRETS_ALLOW: `env:API_*,file:${folder}/in/*,file:/dev/zero` };
mkdirSync(join(folder, "in"));
writeFileSync(join(folder, "in", "token"), "from a file\n");
writeFileSync(join(folder, "in", "empty"), "\n");
writeFileSync(join(folder, "in", "large"), "x".repeat(100_000));
writeFileSync(join(folder, "outside"), "outside");
symlinkSync(join(folder, "outside"), join(folder, "in", "link"));
symlinkSync(join(folder, "in", "token"), join(folder, "in", "inner_link"));
execFileSync("mkfifo", [join(folder, "in", "pipe")]);

describe("secrets", () => {
  it("come from the environment and from files", async () => {
    const environment = { ...allowFolder, API_TOKEN: "t" };
    const references = {
      a: "env:API_TOKEN",
      b: `file:${folder}/in/token`,
      c: `file:${folder}/in/inner_link`,
    };
    expect(await resolveSecrets(references, environment)).toEqual({
      a: "t",
      b: "from a file",
      c: "from a file",
    });
  });

  it("may be named HITZERO_SECRET_… unless the worker is told otherwise, and nothing else", async () => {
    const environment = { HITZERO_SECRET_TOKEN: "t", AWS_SECRET_ACCESS_KEY: "k", HITZERO_SECRETS_KEY: "s" };
    expect(await resolveSecrets({ a: "env:HITZERO_SECRET_TOKEN" }, environment)).toEqual({ a: "t" });
    const server = await serve(always(200));
    for (const name of ["AWS_SECRET_ACCESS_KEY", "HITZERO_SECRETS_KEY", "PATH"]) {
      const headers = { "X-Key": "{{ secrets.key }}" };
      const error = await failure(
        { url: server.url, headers, secrets: { key: `env:${name}` } },
        { environment },
      );
      expect(error).toMatchObject({ code: "SECRET_REFUSED", retryable: false });
    }
    const allowed = { ...environment, HITZERO_SECRETS_ALLOW: "env:*" };
    expect(await resolveSecrets({ a: "env:AWS_SECRET_ACCESS_KEY" }, allowed)).toEqual({ a: "k" });
    await expect(resolveSecrets({ a: "env:HITZERO_SECRETS_KEY" }, allowed)).rejects.toThrow();
    expect(server.received).toEqual([]);
  });

  it.each([
    "env:API_MISSING",
    "env:API_EMPTY",
    `file:${folder}/in/missing`,
    `file:${folder}/in/empty`,
    `file:${folder}/in/large`,
    `file:${folder}/in/pipe`,
    "file:/dev/zero",
  ])("that %s does not hold are missing", async (reference) => {
    const server = await serve(always(200));
    const config = { url: server.url, secrets: { key: reference } };
    const error = await failure(config, { environment: { ...allowFolder, API_EMPTY: "" } });
    expect(error).toMatchObject({ code: "SECRET_MISSING", retryable: false });
    expect(error.message).toContain(reference);
    expect(server.received).toEqual([]);
  });

  it.each<[string, NodeJS.ProcessEnv]>([
    ["env:HITZERO_DATABASE_URL", {}],
    ["env:HITZERO_DATABASE_URL", { HITZERO_SECRETS_ALLOW: "env:*" }],
    ["env:DATABASE_URL", {}],
    ["env:REDIS_URL", {}],
    ["env:OTHER", allowFolder],
    ["file:/etc/passwd", {}],
    ["file:/run/secrets/../../etc/passwd", {}],
    ["file:/proc/self/environ", {}],
    ["file:/etc/passwd", allowFolder],
    [`file:${folder}/in/../outside`, allowFolder],
    [`file:${folder}/in/link`, allowFolder],
  ])("at %s are refused with %j", async (reference, environment) => {
    const given = {
      DATABASE_URL: "x",
      REDIS_URL: "x",
      HITZERO_DATABASE_URL: "x",
      OTHER: "x",
      ...environment,
    };
    await expect(resolveSecrets({ key: reference }, given)).rejects.toMatchObject({ code: "SECRET_REFUSED" });
  });
});

describe("a secret's value", () => {
  const secret = 'S3cr3t/"ä" +%';
  const environment = { HITZERO_SECRET_TOKEN: secret };
  const secrets = { token: "env:HITZERO_SECRET_TOKEN" };
  const headers = { Authorization: "Bearer {{ secrets.token }}" };
  const spellings = [
    secret,
    "S3cr3t",
    Buffer.from(secret).toString("base64"),
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
  ];
  const expectNone = (value: unknown) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    for (const spelling of spellings) expect(text).not.toContain(spelling);
  };
  const everything = (error: Error) =>
    JSON.stringify([error.message, error.stack, String(error.cause), (error as { hint?: string }).hint]);

  it("is sent", async () => {
    const server = await serve(always(200));
    const body = { key: "{{ secrets.token }}" };
    const query = { key: "{{ secrets.token }}" };
    await run({ url: server.url, method: "POST", headers, body, query, secrets }, { environment });
    const [request] = server.received;
    expect(request?.headers.authorization).toBe(Buffer.from(`Bearer ${secret}`, "latin1").toString("latin1"));
    expect(JSON.parse(request?.body ?? "")).toEqual({ key: secret });
    expect(request?.target).toContain(encodeURIComponent(secret));
  });

  it("does not stand in the IR", () => {
    const nodes = [{ id: "call", type: "http", config: { url: "https://a.example/", headers, secrets } }];
    const { ir } = compile({ name: "x", nodes });
    expect(JSON.stringify(ir)).toContain("env:HITZERO_SECRET_TOKEN");
    expectNone(ir);
  });

  it.each([
    [
      "application/json",
      JSON.stringify({ echo: `<${secret}>`, [secret]: 1, deep: [[secret]], same: "kept" }),
    ],
    ["application/json", `{"echo":"\\u0053\\u0033cr3t\\/\\"\\u00e4\\" +%","same":"kept"}`],
    ["text/plain", `log: ${JSON.stringify({ echo: secret, same: "kept" })}`],
    ["text/plain", `${secret} ${encodeURIComponent(secret)} ${Buffer.from(secret).toString("base64")} kept`],
    ["application/x-www-form-urlencoded", `${new URLSearchParams({ key: secret })}&kept=1`],
  ])("echoed as %s is struck out of the output", async (type, body) => {
    const echo = encodeURIComponent(secret);
    const server = await serve(
      always(200, body, { "Content-Type": type, "X-Echo": `a ${echo}`, "X-Same": "kept" }),
    );
    const output = await run({ url: server.url, headers, secrets }, { environment });
    expectNone(output);
    expect(JSON.stringify(output.body)).toContain("***");
    expect(JSON.stringify(output.body)).toContain("kept");
    expect(output.headers).toMatchObject({ "x-echo": "a ***", "x-same": "kept" });
  });

  it("is struck out of bytes too, and of what an expression made of it", async () => {
    const bytes = Buffer.concat([Buffer.from([0, 255]), Buffer.from(secret), Buffer.from([1])]);
    const server = await serve(always(200, bytes, { "Content-Type": "image/png" }));
    const output = await run({ url: server.url, headers, secrets }, { environment });
    expect(Buffer.from(output.body as string, "base64")).toEqual(
      Buffer.from("\u0000\u00ff***\u0001", "latin1"),
    );
    const made = await serve((request, response) => response.end(String(request.headers["x-made"])));
    const config = {
      url: made.url,
      headers: { "X-Made": '{{ secrets.token.substring(0, 5) + "-made" }}' },
      secrets,
    };
    expect((await run(config, { environment })).body).toBe("***");
  });

  it("as a number is struck out", async () => {
    const server = await serve(always(200, '{"pin":123456,"n":12}', { "Content-Type": "application/json" }));
    const output = await run(
      { url: server.url, secrets },
      { environment: { HITZERO_SECRET_TOKEN: "123456" } },
    );
    expect(output.body).toEqual({ pin: "***", n: 12 });
  });

  it.each(["body", "connection", "address", "header", "expression", "redirect", "json"])(
    "does not stand in an error of the %s",
    async (kind) => {
      const server = await serve((request, response) => {
        const echo = `${request.headers.authorization} ${request.url} ${secret}`;
        if (kind === "redirect")
          always(302, "", { Location: `ftp://x/${encodeURIComponent(secret)}` })(request, response);
        else if (kind === "json")
          always(200, `{${secret}`, { "Content-Type": "application/json" })(request, response);
        else always(500, echo.repeat(100))(request, response);
      });
      const configs: Record<string, object> = {
        connection: { url: "http://{{ secrets.token }}.example/" },
        address: { url: "{{ secrets.token }}" },
        header: { url: server.url, headers: { "X-A": "{{ secrets.token }}\t{{ '\\n' }}" } },
        expression: { url: server.url, headers: { "X-A": "{{ int(secrets.token) }}" } },
      };
      const config = configs[kind] ?? { url: `${server.url}/{{ secrets.token }}`, headers };
      const error = await failure({ ...config, secrets }, { environment });
      expectNone(everything(error));
      if (kind === "body") expect(error.message).toContain("***");
    },
  );

  it("that an excerpt would cut in two does not stand in it", async () => {
    const long = "L".repeat(40_000);
    const server = await serve(always(500, long.repeat(3)));
    const error = await failure(
      { url: server.url, secrets },
      { environment: { HITZERO_SECRET_TOKEN: long } },
    );
    expect(error.message.includes("LL")).toBe(false);
    expect(error.message.length).toBeLessThan(500);
  });

  it("in a host is struck out in lower case", async () => {
    const resolver = () => Promise.reject(Object.assign(new Error("no"), { code: "ENOTFOUND" }));
    const config = { url: "https://{{ secrets.token }}.example/", secrets };
    const error = await failure(config, { environment: { HITZERO_SECRET_TOKEN: "TenantName" }, resolver });
    expect(error.message).toBe("***.example: the connection failed (ENOTFOUND)");
  });

  it("in an address' credentials is struck out", async () => {
    const server = await serve((request, response) => response.end(String(request.headers.authorization)));
    const config = { url: server.url.replace("://", "://ann:{{ secrets.token }}@"), secrets };
    expect((await run(config, { environment })).body).toBe("Basic ***");
    expect(server.received[0]?.headers.authorization).toBe(
      `Basic ${Buffer.from(`ann:${secret}`).toString("base64")}`,
    );
  });
});

describe("Redaction", () => {
  it("takes secrets literally and the longest first", () => {
    expect(new Redaction(["a.*", "a.*b"]).text("a.*b axx a.*")).toBe("*** axx ***");
  });

  it("leaves everything alone without secrets", () => {
    const value = { a: 1 };
    expect(new Redaction().json(value)).toBe(value);
  });

  it("refuses what nests too deep to be searched", () => {
    const deep = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
    expect(() => new Redaction(["x"]).json(deep)).toThrow(
      expect.objectContaining({ code: "OUTPUT_TOO_DEEP" }),
    );
  });
});
