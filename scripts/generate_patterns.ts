/** Writes docs/patterns.md from examples/patterns: `npx tsx scripts/generate_patterns.ts`. A test fails when the file is stale. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { z } from "zod";
import { NODE_STATUSES, RUN_STATUSES } from "../src/token/lifecycle.ts";

const FOLDER = fileURLToPath(new URL("../examples/patterns", import.meta.url));
const PAGE = fileURLToPath(new URL("../docs/patterns.md", import.meta.url));

/** By `id`, or `id@scope` inside bodies. */
const NodeStatuses = z.record(z.string(), z.enum(NODE_STATUSES));
const Executions = z.array(z.string()).min(2);

/** What a file says about its pattern, under `metadata.pattern`. */
const Pattern = z.strictObject({
  number: z.int().min(1).max(43),
  name: z.string(),
  /** How far the pattern is supported, if not in full. */
  restriction: z.string().optional(),
  /** What happens from outside, in order; each as soon as the nodes are as `when` says. */
  steps: z
    .array(
      z
        .strictObject({
          when: NodeStatuses.default({}),
          signal: z.string().optional(),
          payload: z.unknown().optional(),
          cancel: z.literal(true).optional(),
        })
        .refine(({ signal, cancel }) => (signal === undefined) !== (cancel === undefined), {
          error: "a step is a signal or a cancel",
        }),
    )
    .default([]),
  expect: z.strictObject({
    status: z.enum(RUN_STATUSES),
    /** Every execution of the run. */
    nodes: NodeStatuses,
    output: z.unknown().optional(),
    /** Executions of which each begins only when the one before it is over. */
    sequences: z.array(Executions).default([]),
    /** Executions of which no two run at once. */
    apart: Executions.optional(),
  }),
});

const Document = z.looseObject({
  name: z.string(),
  metadata: z.looseObject({ description: z.string(), pattern: Pattern }),
});

export interface PatternFile {
  /** Without its ending. */
  file: string;
  description: string;
  pattern: z.output<typeof Pattern>;
  /** The workflow as it stands in the file. */
  document: z.output<typeof Document>;
}

/** Patterns without a file. */
export const NOT_SUPPORTED = [
  {
    number: 10,
    name: "Arbitrary Cycles",
    reason:
      "A cycle has one entry and one exit, those of a loop, and loops nest; a jump into or out of the middle of a cycle (goto) is refused by the compiler.",
  },
  {
    number: 38,
    name: "General Synchronizing Merge",
    reason:
      "A join that waits for whatever may still reach it, through arbitrary cycles and multiple threads, needs pattern 10 to have a meaning of its own; without such cycles it is pattern 37.",
  },
] as const;

/** All pattern files, by number. @throws ZodError for a file of another form */
export function readPatternFiles(): PatternFile[] {
  const files = readdirSync(FOLDER)
    .filter((name) => name.endsWith(".yaml"))
    .sort();
  return files.map((name) => {
    const document = Document.parse(parse(readFileSync(join(FOLDER, name), "utf8")));
    const { description, pattern } = document.metadata;
    return { file: name.slice(0, -".yaml".length), description, pattern, document };
  });
}

/** The text of docs/patterns.md. */
export function patternsPage(files: readonly PatternFile[]): string {
  const rows = files.map(({ file, description, pattern: { number, name, restriction } }) => ({
    number,
    name,
    file: `[${file}.yaml](../examples/patterns/${file}.yaml)`,
    how: restriction === undefined ? description : `${description} **Restricted:** ${restriction}`,
  }));
  const missing = NOT_SUPPORTED.map(({ number, name, reason }) => ({
    number,
    name,
    file: "none",
    how: `**Not supported.** ${reason}`,
  }));
  const table = [...rows, ...missing]
    .sort((a, b) => a.number - b.number)
    .map(
      ({ number, name, file, how }) => `| ${number} | ${name} | ${file} | ${how.replaceAll("|", "\\|")} |`,
    );
  const restricted = files.filter(({ pattern }) => pattern.restriction !== undefined).length;
  return `<!-- Written by scripts/generate_patterns.ts from examples/patterns; do not edit. -->
# Workflow patterns

The 43 control-flow patterns of Russell, ter Hofstede, van der Aalst and Mulyar (*Workflow Control-Flow Patterns: A Revised View*, BPM Center
Report BPM-06-22, 2006). hitzero supports ${files.length} of them, ${restricted} of these in a restricted form that the table names. Each has a file that runs:

    npx hitzero up --handlers examples/patterns/handlers.ts
    npx hitzero submit examples/patterns/01-sequence.yaml --wait

What a file needs from outside and what comes of it stands in it under \`metadata.pattern\`: \`steps\`, each a signal (\`npx hitzero run signal
RUN_ID NAME --payload JSON\`) or a cancel to be given once nodes are as \`when\` says, and \`expect\`. \`test/integration/patterns.test.ts\` runs
each through the whole engine and compares the status of every execution.

| | pattern | file | how |
|--:|---|---|---|
${table.join("\n")}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, patternsPage(readPatternFiles()));
