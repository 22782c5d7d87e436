/** What TypeScript and the scripts both name: rules, words, limits, queues. Each side's own table, compared (letters: letters.test.ts). */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CALL_LIMITS } from "../../../src/redis/call_limits.ts";
import { GROUP, SETTLE_QUEUE } from "../../../src/redis/keys.ts";
import { commandReply, wakeReply } from "../../../src/redis/replies.ts";
import { DEFAULTS } from "../../../src/workflow/file/defaults.ts";
import { TRIGGER_RULES } from "../../../src/workflow/file/schema.ts";

const LUA = new URL("../../../lua/", import.meta.url);
const all = readdirSync(LUA, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".lua"))
  .map((name) => readFileSync(new URL(name, LUA), "utf8").replace(/--.*$/gm, ""))
  .join("\n");
const found = (pattern: RegExp) =>
  [...new Set([...all.matchAll(pattern)].map(([, word]) => word as string))].sort();

describe("the scripts and TypeScript", () => {
  test("name the same trigger rules; the default one is what remains", () => {
    const named = found(/\brule == '(\w+)'/g);
    expect([...named, DEFAULTS.triggerRule].sort()).toEqual([...TRIGGER_RULES].sort());
  });

  test("name the same words in which items and calls are answered", () => {
    const answered = (schema: { shape: { word: { options: readonly string[] } } }) =>
      schema.shape.word.options;
    for (const word of [...answered(wakeReply), ...answered(commandReply)])
      expect(all).toContain(`'${word}'`);
  });

  test("agree on the limits that are sent", () => {
    const sent = ["part", "rest", "results", "entries", "early_signals", "dead_waiters", "aside"];
    expect(found(/\blimits\.([a-z_]+)/g)).toEqual([...sent].sort());
    const names = sent.map((name) => name.replace(/_(.)/g, (_all, letter: string) => letter.toUpperCase()));
    expect(Object.keys(CALL_LIMITS)).toEqual(expect.arrayContaining(names));
  });

  test("agree on the queue of settle tokens, and on the group that reads", () => {
    expect(found(/SETTLE_QUEUE = '([^']+)'/g)).toEqual([SETTLE_QUEUE]);
    expect(found(/'XACK', [^,]+(?:\[[^\]]*\])?, '([^']+)'/g)).toEqual([GROUP]);
  });
});
