/**
 * Tells when files change. Their folders are watched, as editors replace a file rather than write to it; what counts is the
 * content: a file that is only touched has not changed.
 */
import { createHash } from "node:crypto";
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { dirname, join } from "node:path";

const SOURCE = /\.(?:[cm]?[jt]sx?|json)$/;
/** Editors, formatters and checkouts write several files one after another. */
const SETTLE_MS = 100;

interface FileWatchOptions {
  /** Receives the files that changed, and sources beside them in their folders that did. */
  onChange: (files: readonly string[], beside: readonly string[]) => void;
  /** A folder that cannot be watched. */
  onError: (folder: string, error: unknown) => void;
}

export class FileWatch {
  readonly #options: FileWatchOptions;
  readonly #digests = new Map<string, string>();
  readonly #folders = new Map<string, FSWatcher>();
  /** Files of which something was heard since the last look. */
  readonly #heard = new Set<string>();
  #settling: NodeJS.Timeout | undefined;

  constructor(options: FileWatchOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#digests.size;
  }

  add(file: string): void {
    if (this.#digests.has(file)) return;
    this.#digests.set(file, digestOf(file));
    const folder = dirname(file);
    if (this.#folders.has(folder)) return;
    try {
      const watcher = watch(folder, (_event, name) => this.#hear(join(folder, name ?? "")));
      watcher.on("error", (error) => this.#options.onError(folder, error));
      this.#folders.set(folder, watcher);
    } catch (error) {
      this.#options.onError(folder, error);
    }
  }

  close(): void {
    clearTimeout(this.#settling);
    for (const watcher of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  #hear(file: string): void {
    // Logs and data may lie there, too.
    if (!this.#digests.has(file) && !SOURCE.test(file)) return;
    this.#heard.add(file);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#look(), SETTLE_MS);
  }

  #look(): void {
    const changed: string[] = [];
    for (const [file, before] of this.#digests) {
      const now = digestOf(file);
      if (now === before) continue;
      this.#digests.set(file, now);
      changed.push(file);
    }
    const beside = [...this.#heard].filter((file) => !this.#digests.has(file));
    this.#heard.clear();
    if (changed.length > 0 || beside.length > 0) this.#options.onChange(changed, beside);
  }
}

function digestOf(file: string): string {
  try {
    return createHash("sha256").update(readFileSync(file)).digest("base64");
  } catch {
    return "absent";
  }
}
