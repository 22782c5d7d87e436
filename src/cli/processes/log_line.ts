/** A worker's log line, which is JSON, for eyes. */
import { z } from "zod";
import { OWN_CODE } from "../package_files.ts";
import { causeLines } from "../run/outcome.ts";
import { placeOf } from "../run/scopes.ts";
import type { Colors } from "../shell/terminal.ts";

const LEVELS: ReadonlyMap<number, string> = new Map([
  [20, "DEBUG"],
  [30, "INFO"],
  [40, "WARN"],
  [50, "ERROR"],
]);

const Line = z.looseObject({ level: z.number(), time: z.string(), msg: z.string() });

const FailedAttempt = z.object({
  run_id: z.string(),
  workflow: z.string(),
  node: z.string(),
  scope: z.string(),
  attempt: z.number(),
  max_attempts: z.number().optional(),
  code: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  causes: z
    .array(z.object({ depth: z.number(), code: z.string().optional(), message: z.string() }))
    .optional(),
});

/** Frames shown of a stack: the user's. */
const FRAMES = 5;

/** What to show of a line that a child printed. A line that is no log entry stays as it is. */
export function readableLog(line: string, colors: Colors): string[] {
  if (!line.startsWith("{")) return [line];
  let entry: z.infer<typeof Line>;
  try {
    entry = Line.parse(JSON.parse(line));
  } catch {
    return [line];
  }
  const { level, time: _time, msg, ...facts } = entry;
  const name = LEVELS.get(level) ?? "INFO";
  const sign = level >= 50 ? colors.red(name) : level >= 40 ? colors.yellow(name) : colors.dim(name);
  const failed = FailedAttempt.safeParse(facts);
  if (failed.success) {
    const { data } = failed;
    return [`${sign} ${plain(failureText(data))}`, ...below(data).map((text) => colors.dim(plain(text)))];
  }
  const told = Object.entries(facts).map(
    ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return [`${sign} ${plain(msg)}${told.length > 0 ? colors.dim(` ${plain(told.join(" "))}`) : ""}`];
}

/** Messages come from anywhere: they must not move the cursor or colour the screen. */
const plain = (text: string) => text.replaceAll(/\p{Cc}+/gu, " ");

type Failed = z.infer<typeof FailedAttempt>;

function failureText({
  run_id,
  workflow,
  node,
  scope,
  attempt,
  max_attempts,
  code,
  message,
}: Failed): string {
  const tries = max_attempts === undefined ? "" : ` of ${max_attempts}`;
  const place = `${placeOf(node, scope)} of ${workflow} (run ${run_id}) failed in attempt ${attempt}${tries}`;
  return `${place}: ${code}: ${message}`;
}

function below({ stack = "", causes }: Failed): string[] {
  const frames = stack
    .split("\n")
    .filter(
      (frame) =>
        /^\s+at /.test(frame) && !/node:internal|node:async/.test(frame) && !frame.includes(OWN_CODE),
    )
    .slice(0, FRAMES);
  return [...causeLines(causes), ...frames.map((frame) => `  ${frame.trim()}`)];
}
