/** Where words go: results to stdout, remarks to stderr. Colours only on a terminal that wants them. */
import pc from "picocolors";
import type { Fault } from "../../base/errors.ts";

export type Colors = ReturnType<typeof pc.createColors>;

function colorsFor(stream: NodeJS.WriteStream): Colors {
  const { NO_COLOR, TERM } = process.env;
  return pc.createColors(stream.isTTY === true && !NO_COLOR && TERM !== "dumb");
}

/** A view that redraws itself on stdout. */
interface LiveBlock {
  /** Writes lines that stay, above the block. */
  above(text: string): void;
}

export class Terminal {
  /** Results are JSON documents. */
  readonly json: boolean;
  /** For what is printed to stdout. */
  readonly colors: Colors = colorsFor(process.stdout);
  /** For what is printed to stderr. */
  readonly remarkColors: Colors = colorsFor(process.stderr);

  /** The view that is open, if one is. */
  live: LiveBlock | undefined;

  constructor(json: boolean) {
    this.json = json;
  }

  /** May a view redraw itself on stdout? */
  get isLive(): boolean {
    return !this.json && process.stdout.isTTY === true && process.env.TERM !== "dumb";
  }

  print(text = ""): void {
    process.stdout.write(`${text}\n`);
  }

  /** One JSON document. */
  document(value: unknown): void {
    this.print(JSON.stringify(value, null, process.stdout.isTTY ? 2 : 0));
  }

  /** One line of JSON, of several. */
  line(value: unknown): void {
    this.print(JSON.stringify(value));
  }

  remark(text: string): void {
    if (this.live && process.stderr.isTTY) this.live.above(text);
    else process.stderr.write(`${text}\n`);
  }

  warn(text: string, hint?: string): void {
    const colors = this.remarkColors;
    this.remark(`${colors.yellow("warning:")} ${text}${hint ? `\n${colors.dim("hint:")} ${hint}` : ""}`);
  }

  /** What the compiler found worth a word. */
  warnOf(warnings: readonly Fault[]): void {
    for (const { code, path, message, hint } of warnings) this.warn(`${code} at ${path}: ${message}`, hint);
  }
}
