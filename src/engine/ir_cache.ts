/** IRs by digest, read once per process. An IR never changes, so nothing is ever stale; the oldest used go when it is full. */
import { HitzeroError } from "../base/errors.ts";
import type { Queryable } from "../postgres/database.ts";
import { loadIR } from "../postgres/workflows.ts";
import type { IR } from "../workflow/ir/ir.ts";

const LARGEST = 500;

function freeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const part of Object.values(value)) freeze(part);
}

export class IRCache {
  readonly #database: Queryable;
  readonly #known = new Map<string, Promise<IR>>();
  /** Those of them that have been read. */
  readonly #read = new Map<string, IR>();

  constructor(database: Queryable) {
    this.#database = database;
  }

  /** @throws HitzeroError IR_NOT_FOUND when the record does not know the digest */
  get(digest: string): Promise<IR> {
    const known = this.#known.get(digest) ?? this.#load(digest);
    this.#known.delete(digest);
    this.#known.set(digest, known);
    if (this.#known.size > LARGEST) {
      const oldest = this.#known.keys().next().value as string;
      this.#known.delete(oldest);
      this.#read.delete(oldest);
    }
    return known;
  }

  /** It, if it has been read, at once. Undefined, too, when there are many: then `get` notes which of them are used. */
  find(digest: string): IR | undefined {
    return this.#known.size < LARGEST / 2 ? this.#read.get(digest) : undefined;
  }

  #load(digest: string): Promise<IR> {
    const loading = loadIR(this.#database, digest).then((ir) => {
      if (!ir) {
        throw new HitzeroError("IR_NOT_FOUND", `no registered workflow has the digest ${digest}`, {
          hint: "Do Redis and Postgres belong together? `runs.ir_digest` names the workflow.",
        });
      }
      freeze(ir.vars);
      for (const node of ir.nodes) freeze(node.config);
      if (this.#known.has(digest)) this.#read.set(digest, ir);
      return ir;
    });
    loading.catch(() => this.#known.delete(digest));
    return loading;
  }
}
