/** A block of lines at the bottom of the terminal that is drawn again and again. */

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
/** Lines that are too long are cut by the terminal instead of wrapped. */
const NO_WRAP = "\x1b[?7l";
const WRAP = "\x1b[?7h";
const CLEAR_BELOW = "\x1b[J";
const CLEAR_LINE_END = "\x1b[K";

export class Screen {
  readonly #stream: NodeJS.WriteStream;
  #drawn = 0;
  #open = false;
  readonly #restore = () => {
    if (this.#open) this.#stream.write(WRAP + SHOW_CURSOR);
    this.#open = false;
  };

  constructor(stream: NodeJS.WriteStream = process.stdout) {
    this.#stream = stream;
  }

  /** Lines that fit on the terminal. */
  get height(): number {
    return Math.max(4, (this.#stream.rows || 24) - 1);
  }

  get width(): number {
    return this.#stream.columns || 80;
  }

  /** Replaces the block. */
  draw(lines: readonly string[]): void {
    if (!this.#open) process.once("exit", this.#restore);
    this.#open = true;
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : "";
    const body = lines.map((line) => `${line}${CLEAR_LINE_END}\n`).join("");
    this.#stream.write(`${HIDE_CURSOR}${NO_WRAP}${up}${body}${CLEAR_BELOW}`);
    this.#drawn = lines.length;
  }

  /** Writes lines that stay, above the block. */
  above(text: string): void {
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : "";
    this.#stream.write(`${up}${CLEAR_BELOW}${WRAP}${text}\n`);
    this.#drawn = 0;
  }

  /** Leaves the block as it stands; what is drawn next begins below it. */
  release(): void {
    this.#restore();
    process.off("exit", this.#restore);
    this.#drawn = 0;
  }
}
