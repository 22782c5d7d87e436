import { expect, test } from "vitest";
import { checkQueues, checkTags, checkText } from "../../../src/engine/checked_texts.ts";
import { expectFault, workflow } from "../workflow/documents.ts";

test.each([[7], [""], ["x".repeat(11)], ["a\u0000"], ["\ud800"]])("%j is refused by BAD_TEXT", (text) => {
  expect(() => checkText("it", text, 10)).toThrow(expect.objectContaining({ code: "BAD_TEXT" }));
});

test("what fits is taken; a scope may be empty", () => {
  checkText("it", "x".repeat(10), 10);
  checkText("it", "", 10, true);
  checkTags(Array.from({ length: 100 }, () => "tag"));
  expect(() => checkTags(Array.from({ length: 101 }, () => "tag"))).toThrow("the limit is 100");
});

test("a workflow's own tags and metadata are bounded, too", () => {
  const tags = (count: number) => Array.from({ length: count }, () => "tag");
  expectFault("LIMIT_EXCEEDED", "$.metadata.tags", workflow("a", "", { metadata: { tags: tags(101) } }));
  expectFault(
    "LIMIT_EXCEEDED",
    "$.metadata.tags[0]",
    workflow("a", "", { metadata: { tags: ["x".repeat(129)] } }),
  );
  expectFault("LIMIT_EXCEEDED", "$.metadata", workflow("a", "", { metadata: { notes: "x".repeat(70_000) } }));
});

test.each([[[]], [["a b"]], [["~settle"]], [["default", ""]], [["x".repeat(129)]], [[7]], ["default"]])(
  "queues %j are refused by BAD_QUEUE",
  (queues) => {
    expect(() => checkQueues(queues as string[])).toThrow(expect.objectContaining({ code: "BAD_QUEUE" }));
  },
);

test("queues that are named twice are read once", () => {
  expect(checkQueues(["default", "reports", "default"])).toEqual(["default", "reports"]);
});
