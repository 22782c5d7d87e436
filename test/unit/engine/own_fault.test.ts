import { describe, expect, test } from "vitest";
import { HitzeroError } from "../../../src/base/errors.ts";
import { isDoubtful, isOwnFault } from "../../../src/engine/own_fault.ts";
import { postgresFault } from "../../../src/postgres/connection_errors.ts";
import { RedisAwayError } from "../../../src/redis/connection.ts";
import { FenceError } from "../../../src/redis/fence_error.ts";

const sqlState = (code: string) => Object.assign(new Error("refused"), { code });
const postgres = (code: string) => postgresFault(sqlState(code), "postgres://h/d");
const reply = (message: string) => Object.assign(new Error(message), { name: "ReplyError" });

describe("it is its own fault", () => {
  test.each<[string, unknown]>([
    ["a value that Postgres refuses", sqlState("22P05")],
    ["a key that is taken", sqlState("23505")],
    ["a statement that is too large", sqlState("54000")],
    ["a trigger of somebody's own", postgres("P0001")],
    ["a time that does not exist", new RangeError("Invalid time value")],
    ["a broken invariant", new Error("broken invariant: a journal entry has no call")],
    ["JSON that does not parse", new SyntaxError("Unexpected end of JSON input")],
    ["a text that is too long", Object.assign(new Error("too long"), { code: "ERR_STRING_TOO_LONG" })],
    ["a compiled form of another release", new HitzeroError("IR_FORMAT", "it has another format")],
    [
      "a script that breaks",
      reply("ERR user_script:12: attempt to compare nil with number script: 0123, on @user_script:12."),
    ],
    [
      "a key of another type",
      reply(`WRONGTYPE Operation against a key script: ${"0a".repeat(20)}, on @user_script:9.`),
    ],
  ])("%s", (_what, error) => {
    expect(isOwnFault(error)).toBe(true);
    expect(isDoubtful(error)).toBe(false);
  });
});

describe("it is a server's, and waits", () => {
  test.each<[string, unknown]>([
    ["Postgres away", postgres("57P01")],
    ["Postgres read-only", postgres("25006")],
    ["a disk that is full", postgres("53100")],
    ["no connection left", postgres("53300")],
    ["a table that lacks a column", sqlState("42703")],
    ["a socket", Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })],
    ["a link that broke", new Error("Connection is closed.")],
    ["Redis away", new RedisAwayError("closed")],
    ["a fence", new FenceError(0, "epoch")],
    [
      "Redis that cannot save",
      reply("MISCONF Redis is configured to save RDB snapshots script: 0a, on @user_script:1."),
    ],
    ["Redis without memory", reply("OOM command not allowed when used memory > 'maxmemory'. script: 0a")],
    ["a busy Redis", reply("BUSY Redis is busy running a script.")],
    ["a right that is missing", reply("NOPERM this user has no permissions to run the 'evalsha' command")],
  ])("%s", (_what, error) => {
    expect(isOwnFault(error)).toBe(false);
  });

  test.each(["57014", "53200", "XX000"])("SQLSTATE %s, unless it comes back time after time", (code) => {
    expect([isOwnFault(postgres(code)), isDoubtful(postgres(code))]).toEqual([false, true]);
  });
});
