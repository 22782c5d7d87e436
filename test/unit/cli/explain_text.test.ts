import { readFileSync } from "node:fs";
import pc from "picocolors";
import { describe, expect, it } from "vitest";
import { explanationLines } from "../../../src/cli/run/explain_text.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { explain } from "../../../src/workflow/compile/explain.ts";
import { loop, workflow, workflowWith } from "../workflow/documents.ts";

const controlFlow = new URL("../workflow/control_flow.json", import.meta.url);
const colors = pc.createColors(false);
const linesOf = (document: unknown) => explanationLines(explain(compile(document).ir), colors);

describe("an explanation", () => {
  it("reads as text", async () => {
    const text = linesOf(JSON.parse(readFileSync(controlFlow, "utf8"))).join("\n");
    await expect(`${text}\n`).toMatchFileSnapshot("golden/control_flow.explain.txt");
  });

  it("leaves out what there is not, and cuts what is long", () => {
    const ids = Array.from({ length: 60 }, (_, index) => `n${index}`);
    const chain = ids.slice(1).map((id, index) => `${ids[index]}>${id}`);
    const lines = linesOf(workflow(ids.join(" "), chain.join(" ")));
    expect(lines).toContain("  … and 20 more (--json shows all)");
    expect(lines.filter((line) => line !== "" && !line.startsWith(" "))).toEqual([
      "levels (nodes of one may run at once)",
      "ends",
    ]);
  });

  it("keeps to its line, whatever an expression holds", () => {
    const condition = 'data.x ==\n "\u001b[31m"';
    const lines = linesOf(workflowWith("a l", "a>l", [loop("l", "a", { condition })]));
    expect(lines).toContain(
      '  loop l  a → l: again while data.x ==  " [31m", at most 3 times, else it fails',
    );
  });
});
