/** A run as it goes, node by node: redrawn on a terminal, one line per change elsewhere. */
import type { NodeStatus } from "../../token/lifecycle.ts";
import { coloured, counts, duration, icon } from "../shell/format.ts";
import { Screen } from "../shell/screen.ts";
import type { Colors, Terminal } from "../shell/terminal.ts";
import type { NodeProgress, Progress, RunProgress } from "./progress.ts";
import { countStatuses, patternOf, placeOf } from "./scopes.ts";

/** Workflows with more nodes are shown as a bar with the nodes that run. */
const MOST_LISTED = 25;
const FRAME_MS = 100;
const RUNNING_SHOWN = 8;
const FINISHED_SHOWN = 5;
const BAR_WIDTH = 32;
/** Scopes of a node of which each change is a line; of further ones only their number is told at the end. */
const SCOPES_TOLD = 10;

/** Shows a run's progress. */
interface RunView {
  /** Something is new of these executions. */
  changed(executions: readonly Progress[]): void;
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
  return terminal.isLive ? new LiveView(terminal, title, progress, begun) : new LineView(terminal, progress);
}

class LineView implements RunView {
  readonly #terminal: Terminal;
  readonly #progress: RunProgress;
  /** By node, as long as there are not too many. */
  readonly #told = new Map<string, Set<string>>();
  readonly #cut = new Set<string>();

  constructor(terminal: Terminal, progress: RunProgress) {
    this.#terminal = terminal;
    this.#progress = progress;
  }

  changed(executions: readonly Progress[]): void {
    for (const execution of executions) {
      if (!this.#isTold(execution)) continue;
      const { id, scope, status } = execution;
      this.#terminal.print(`${icon(status)}${placeOf(id, scope)} ${status}${detail(execution)}`);
    }
  }

  close(): void {
    for (const id of this.#cut) {
      const node = this.#progress.node(id);
      if (node) this.#terminal.print(`${icon(node.status)}${nodePlace(node)}: ${counts(node.counts)}`);
    }
  }

  #isTold({ id, scope }: Progress): boolean {
    const scopes = this.#told.get(id) ?? new Set<string>();
    this.#told.set(id, scopes);
    if (scopes.has(scope)) return true;
    if (scopes.size < SCOPES_TOLD) {
      scopes.add(scope);
      return true;
    }
    if (!this.#cut.has(id)) {
      this.#terminal.print(`…  ${placeOf(id, patternOf(scope))}: more follow, told together at the end`);
    }
    this.#cut.add(id);
    return false;
  }
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
    const { length } = this.#progress.nodes;
    const listed = length <= MOST_LISTED && length + 2 <= this.#screen.height;
    this.#screen.draw(listed ? this.#list() : this.#summary());
  }

  #header(nodes: readonly NodeProgress[]): string {
    const colors = this.#colors;
    const elapsed = duration(Date.now() - this.#begun);
    const done = nodes.filter(({ isDone }) => isDone).length;
    return `${colors.bold(this.#title)}  ${done}/${nodes.length} nodes  ${colors.dim(elapsed)}`;
  }

  #list(): string[] {
    const { nodes } = this.#progress;
    const width = Math.max(...nodes.map((node) => nodePlace(node).length));
    const line = (node: NodeProgress) => {
      const name = coloured(node.status, this.#colors, nodePlace(node).padEnd(width));
      const told = node.executions > 1 || !node.latest ? counts(node.counts) : liveDetail(node.latest).trim();
      return `${icon(node.status)}${name}  ${this.#colors.dim(node.executions === 0 ? "" : told)}`;
    };
    return [this.#header(nodes), ...nodes.map(line)];
  }

  #summary(): string[] {
    const { nodes, finished, running } = this.#progress;
    const done = nodes.filter(({ isDone }) => isDone).length;
    const full = Math.round((done / nodes.length) * BAR_WIDTH);
    const bar = this.#colors.green("█".repeat(full)) + this.#colors.dim("░".repeat(BAR_WIDTH - full));
    const byStatus = countStatuses(nodes);
    const usual: NodeStatus[] = ["COMPLETED", "RUNNING", "PENDING"];
    const present = usual.concat(
      (["WAITING", "SKIPPED", "FAILED"] as const).filter((status) => byStatus[status] > 0),
    );
    const totals = present.map(
      (status) => `${icon(status)}${byStatus[status]} ${coloured(status, this.#colors)}`,
    );
    const more = running.size - RUNNING_SHOWN;
    const name = (execution: Progress) =>
      `${icon(execution.status)}${placeOf(execution.id, execution.scope)}${this.#colors.dim(liveDetail(execution))}`;
    // The block keeps its height, so that the terminal does not jump.
    const runningLines = fill([...running].slice(0, RUNNING_SHOWN).map(name), RUNNING_SHOWN);
    const finishedLines = fill(finished.slice(-FINISHED_SHOWN).map(name), FINISHED_SHOWN);
    const rest = more > 0 ? this.#colors.dim(`   and ${more} more`) : "";
    const room = this.#screen.height - 5;
    const lists =
      room >= RUNNING_SHOWN + FINISHED_SHOWN
        ? [this.#colors.dim("now"), ...runningLines, rest, this.#colors.dim("last"), ...finishedLines]
        : [];
    return [this.#header(nodes), `${bar}  ${totals.join("  ")}`, ...(done === nodes.length ? [] : lists)];
  }
}

/** `work`, `work @ again:3` or, of several executions, `work @ each:*`. */
function nodePlace({ id, latest, executions }: NodeProgress): string {
  const scope = latest?.scope ?? "";
  return placeOf(id, executions > 1 ? patternOf(scope) : scope);
}

function fill(lines: readonly string[], height: number): string[] {
  return [...lines, ...Array.from({ length: height - lines.length }, () => "")];
}

/** ` 12 ms` or ` (not_taken)`. */
function detail(node: Progress): string {
  const time = node.durationMs === undefined ? "" : ` ${duration(node.durationMs)}`;
  return `${time}${node.reason === undefined ? "" : ` (${node.reason})`}`;
}

/** The same, with the time that a running node has taken so far. */
function liveDetail(node: Progress): string {
  if (node.status !== "RUNNING" || node.startedAt === undefined) return `  ${detail(node).trim()}`;
  return `  ${duration(Math.max(0, Date.now() - node.startedAt))}`;
}
