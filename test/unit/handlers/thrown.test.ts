import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { isRetryable, requestedDelayMs } from "../../../src/handlers/errors.ts";
import { errorOf } from "../../../src/handlers/thrown.ts";
import { HOSTILE_THROWS } from "../../support/hostile_values.ts";

const MOST_BYTES = 40_000;

test.each(HOSTILE_THROWS)("$name is a recorded error", ({ make, code, message }) => {
  const thrown = make();
  const error = errorOf(thrown, 2, "worker-1");
  expect(error).toMatchObject({ code, attempt: 2, worker: "worker-1" });
  expect(typeof error.message).toBe("string");
  if (typeof message === "string") expect(error.message).toBe(message);
  else expect(error.message).toMatch(message);
  if (error.stack !== undefined) expect(typeof error.stack).toBe("string");
  const text = JSON.stringify(error);
  expect(text.length).toBeLessThan(MOST_BYTES);
  expect(text.isWellFormed()).toBe(true);
  expect(text).not.toMatch(/\\u0000|\\ud[89a-f]/);
  // The policy of retries reads it too.
  expect(isRetryable(thrown)).toBe(true);
  expect(requestedDelayMs(thrown)).toBeUndefined();
});

const causesOf = (thrown: unknown) => errorOf(thrown, 1, "w").causes;

test("causes are recorded with their codes, those of an AggregateError too, each below what it led to", () => {
  const inner = [
    Object.assign(new Error("connect ECONNREFUSED ::1:80"), { code: "ECONNREFUSED" }),
    Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:80"), { code: "ECONNREFUSED" }),
  ];
  const thrown = new TypeError("fetch failed", {
    cause: new Error("no luck", { cause: new AggregateError(inner, "all failed", { cause: "the weather" }) }),
  });
  expect(causesOf(thrown)).toEqual([
    { depth: 1, message: "no luck" },
    { depth: 2, message: "all failed" },
    { depth: 3, message: "the weather" },
    { depth: 3, code: "ECONNREFUSED", message: "connect ECONNREFUSED ::1:80" },
    { depth: 3, code: "ECONNREFUSED", message: "connect ECONNREFUSED 127.0.0.1:80" },
  ]);
});

test("a refused fetch names host and port", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const thrown = await fetch(`http://127.0.0.1:${port}/`).catch((error: unknown) => error);
  expect(errorOf(thrown, 1, "w").message).toBe("fetch failed");
  expect(causesOf(thrown)).toContainEqual({
    depth: 1,
    code: "ECONNREFUSED",
    message: `connect ECONNREFUSED 127.0.0.1:${port}`,
  });
});

test("causes are bounded in depth, number and size", () => {
  const wide = new AggregateError(
    Array.from({ length: 50 }, () => new Error("m".repeat(100_000))),
    "wide",
  );
  expect(causesOf(wide)).toHaveLength(8);
  for (const { message } of causesOf(wide) ?? []) expect(message.length).toBeLessThan(1_100);
  let deep = new Error("bottom");
  for (let level = 0; level < 50; level++) deep = new Error(`level ${level}`, { cause: deep });
  expect(causesOf(deep)?.map(({ depth }) => depth)).toEqual([1, 2, 3, 4, 5]);
  const round = new Error("round");
  round.cause = new Error("and", { cause: round });
  expect(causesOf(round)).toEqual([{ depth: 1, message: "and" }]);
});

test("passwords in addresses are masked in causes as in messages", () => {
  const thrown = new Error("http://me:secret@here/", { cause: new Error("http://me:secret@there/") });
  expect(JSON.stringify({ ...errorOf(thrown, 1, "w") })).not.toContain("secret");
});

test("a stack keeps its frames however long the message is", () => {
  const { stack = "" } = errorOf(new Error("m".repeat(100_000)), 1, "w");
  expect(stack).toContain("thrown.test.ts");
  expect(stack.length).toBeLessThan(8_300);
});
