/**
 * Reloads the handlers of `up` when a file of theirs changes: the workers are replaced by new ones. What does not load leaves the
 * workers before it in place; the next change of a source in its folders is another try.
 */
import { relative } from "node:path";
import { plural } from "../shell/format.ts";
import { FileWatch } from "./file_watch.ts";
import type { LocalStack } from "./local_stack.ts";

export class HandlerReload {
  readonly #stack: LocalStack;
  readonly #tell: (line: string) => void;
  readonly #watch: FileWatch;
  readonly #changed = new Set<string>();
  #isBroken = false;
  #reloading = false;
  #closed = false;

  constructor(stack: LocalStack, tell: (line: string) => void) {
    this.#stack = stack;
    this.#tell = tell;
    this.#watch = new FileWatch({
      onChange: (files, beside) => this.#onChange(files, beside),
      onError: (folder) => tell(`${folder} cannot be watched: changes there need a restart`),
    });
    stack.onModule = (file) => this.#watch.add(file);
    for (const file of stack.modules) this.#watch.add(file);
  }

  /** Files watched. */
  get size(): number {
    return this.#watch.size;
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  #onChange(files: readonly string[], beside: readonly string[]): void {
    // A file that was missing may be there now.
    for (const file of this.#isBroken ? [...files, ...beside] : files) this.#changed.add(file);
    if (!this.#reloading && this.#changed.size > 0) void this.#reload();
  }

  async #reload(): Promise<void> {
    this.#reloading = true;
    do {
      const what = namesOf([...this.#changed]);
      this.#changed.clear();
      try {
        await this.#stack.replaceWorkers();
        this.#isBroken = false;
        this.#tell(`${what} changed: ${plural(this.#stack.functions.length, "function")}`);
      } catch {
        // Why, the new worker has said.
        this.#isBroken = true;
        if (!this.#closed) this.#tell(`${what} changed and cannot be loaded: the workers before go on`);
      }
    } while (this.#changed.size > 0 && !this.#closed);
    this.#reloading = false;
  }
}

function namesOf(files: readonly string[]): string {
  const [first = "", ...more] = files.map((file) => relative(process.cwd(), file));
  return more.length === 0 ? first : `${first} and ${plural(more.length, "other file")}`;
}
