/** A run as it goes, node by node: redrawn on a terminal, one line per change elsewhere. */
import type { NodeStatus } from "../token/lifecycle.ts";
import { coloured, duration, icon } from "./format.ts";
import type { NodeProgress, RunProgress } from "./run_progress.ts";
import { Screen } from "./screen.ts";
import type { Colors, Terminal } from "./terminal.ts";

/** Workflows with more nodes are shown as a bar with the nodes that run. */
const MOST_LISTED = 25;
const FRAME_MS = 100;
const RUNNING_SHOWN = 8;
const FINISHED_SHOWN = 5;
const BAR_WIDTH = 32;

/** Shows a run's progress. */
interface RunView {
  /** Something is new of these nodes. */
  changed(nodes: readonly NodeProgress[]): void;
  /** Shows the end, and stops. */
  close(): void;
}

export function createRunView(
  terminal: Terminal,
  title: string,
  progress: RunProgress,
  begun: number,
): RunView {
  if (terminal.json) return { changed: () => {}, close: () => {} };
  return terminal.isLive ? new LiveView(terminal, title, progress, begun) : new LineView(terminal);
}

class LineView implements RunView {
  readonly #terminal: Terminal;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  changed(nodes: readonly NodeProgress[]): void {
    for (const node of nodes)
      this.#terminal.print(`${icon(node.status)}${node.id} ${node.status}${detail(node)}`);
  }

  close(): void {}
}

class LiveView implements RunView {
  readonly #terminal: Terminal;
  readonly #colors: Colors;
  readonly #title: string;
  readonly #progress: RunProgress;
  readonly #screen = new Screen();
  /** Milliseconds since 1970. */
  readonly #begun: number;
  readonly #timer: NodeJS.Timeout;

  constructor(terminal: Terminal, title: string, progress: RunProgress, begun: number) {
    this.#terminal = terminal;
    this.#colors = terminal.colors;
    this.#title = title;
    this.#progress = progress;
    this.#begun = begun;
    this.#timer = setInterval(() => this.#draw(), FRAME_MS);
    terminal.live = this.#screen;
    this.#draw();
  }

  changed(): void {
    // The next frame shows it.
  }

  close(): void {
    clearInterval(this.#timer);
    this.#draw();
    this.#screen.release();
    this.#terminal.live = undefined;
  }

  #draw(): void {
    const { size } = this.#progress.nodes;
    const listed = size <= MOST_LISTED && size + 2 <= this.#screen.height;
    this.#screen.draw(listed ? this.#list() : this.#summary());
  }

  #header(): string {
    const colors = this.#colors;
    const elapsed = duration(Date.now() - this.#begun);
    return `${colors.bold(this.#title)}  ${this.#progress.finished.length}/${this.#progress.nodes.size} nodes  ${colors.dim(elapsed)}`;
  }

  #list(): string[] {
    const nodes = [...this.#progress.nodes.values()];
    const width = Math.max(...nodes.map(({ id }) => id.length));
    const line = (node: NodeProgress) => {
      const name = coloured(node.status, this.#colors, node.id.padEnd(width));
      return `${icon(node.status)}${name}${this.#colors.dim(liveDetail(node))}`;
    };
    return [this.#header(), ...nodes.map(line)];
  }

  #summary(): string[] {
    const { counts, nodes, finished } = this.#progress;
    const full = Math.round((finished.length / nodes.size) * BAR_WIDTH);
    const bar = this.#colors.green("█".repeat(full)) + this.#colors.dim("░".repeat(BAR_WIDTH - full));
    const usual: NodeStatus[] = ["COMPLETED", "RUNNING", "PENDING"];
    const present = usual.concat(
      ["SKIPPED", "FAILED"].filter((status) => counts[status as NodeStatus] > 0) as NodeStatus[],
    );
    const totals = present.map(
      (status) => `${icon(status)}${counts[status]} ${coloured(status, this.#colors)}`,
    );
    const running = [...nodes.values()].filter(({ status }) => status === "RUNNING");
    const more = running.length - RUNNING_SHOWN;
    const name = (node: NodeProgress) =>
      `${icon(node.status)}${node.id}${this.#colors.dim(liveDetail(node))}`;
    // The block keeps its height, so that the terminal does not jump.
    const runningLines = fill(running.slice(0, RUNNING_SHOWN).map(name), RUNNING_SHOWN);
    const finishedLines = fill(finished.slice(-FINISHED_SHOWN).map(name), FINISHED_SHOWN);
    const rest = more > 0 ? this.#colors.dim(`   and ${more} more`) : "";
    const room = this.#screen.height - 5;
    const lists =
      room >= RUNNING_SHOWN + FINISHED_SHOWN
        ? [this.#colors.dim("now"), ...runningLines, rest, this.#colors.dim("last"), ...finishedLines]
        : [];
    return [this.#header(), `${bar}  ${totals.join("  ")}`, ...(this.#isOver ? [] : lists)];
  }

  get #isOver(): boolean {
    return this.#progress.finished.length === this.#progress.nodes.size;
  }
}

function fill(lines: readonly string[], height: number): string[] {
  return [...lines, ...Array.from({ length: height - lines.length }, () => "")];
}

/** ` 12 ms` or ` (not_taken)`. */
function detail(node: NodeProgress): string {
  const time = node.durationMs === undefined ? "" : ` ${duration(node.durationMs)}`;
  return `${time}${node.reason === undefined ? "" : ` (${node.reason})`}`;
}

/** The same, with the time that a running node has taken so far. */
function liveDetail(node: NodeProgress): string {
  if (node.status !== "RUNNING" || node.startedAt === undefined) return `  ${detail(node).trim()}`;
  return `  ${duration(Math.max(0, Date.now() - node.startedAt))}`;
}
