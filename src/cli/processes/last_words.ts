/** What a process printed last, for those who ask why it ended. Log lines, which are JSON, are not about that. */

const MOST_LINES = 20;
const LONGEST = 300;
/** How runtimes and libraries announce an end. */
const TELLING = /\b(fatal|panic|abort(ed)?|segmentation fault|assertion|\w*error)\b/i;

export class LastWords {
  #lines: string[] = [];

  hear(line: string): void {
    if (line.trim() === "" || line.startsWith("{")) return;
    this.#lines.push(line.trim().slice(0, LONGEST));
    if (this.#lines.length > MOST_LINES) this.#lines.shift();
  }

  /** The line that tells most; "" when there is none. */
  get text(): string {
    return this.#lines.findLast((line) => TELLING.test(line)) ?? this.#lines.at(-1) ?? "";
  }
}
