/**
 * Names of the fields of a run's state and of an IR's adjacency, and what TypeScript packs into them: each is spelled here alone, and by
 * lua/lib/fields.lua, which describes them; a test compares the two.
 */

/** Of the run itself. */
export const RUN = {
  digest: "d",
  counts: "c",
  status: "s",
  halted: "x",
  paused: "p",
  permits: "m",
  holding: "h",
  last_command: "k",
  compensating: "z",
  undoing: "Z",
  compensations: "K",
  rests: "V",
  unhandled: "u",
  input: "i",
} as const;
/** Of one of its nodes or edges: see `fieldOf`. Behind the last three: a name or number alone. */
export const FIELD = {
  execution: "n",
  output: "o",
  arrivals: "a",
  arrival: "e",
  waits: "p",
  losses: "f",
  ended_item: "t",
  iteration: "i",
  map: "M",
  results: "r",
  burial: "b",
  place: "l",
  semaphore: "y",
  compensation: "K",
  rest: "w",
} as const;
/** Of a scope of its own. */
export const SCOPE = { counter: "c", unhandled: "u", goes_round: "L" } as const;
/** Of a signal (lua/lib/waiting.lua). */
export const SIGNAL = { line: "s", waiter: "S", early_line: "E", early: "F" } as const;
/** Of an IR; the number of the node follows. `ordered` and `complete` are whole names. */
export const ADJACENCY = {
  out: "o",
  into: "i",
  component: "B",
  body: "m",
  scope_fields: "k",
  guards: "g",
  withdrawal: "x",
  withdrawn: "X",
  ordered: "ordered",
  complete: "complete",
} as const;
/** What begins, in the place of a node: the run; an item of a map, or an iteration of a loop, whose node follows. */
export const BEGINNING = { run: "root", item: "B", iteration: "b" } as const;

/** A scope as it stands behind the number of a node. */
export const atScope = (scope: string) => (scope === "" ? "" : `@${scope}`);

/** The field of a node (of an edge: `FIELD.arrival`), as it is in a scope. */
export function fieldOf(name: (typeof FIELD)[keyof typeof FIELD], node: number, scope = ""): string {
  return `${name}${node}${atScope(scope)}`;
}

/** What one item of a map came to: the output of a node that ended it, or a mark (`ITEM`). */
export function resultField(map: number, scope: string, item: number, ending: number | string): string {
  return `${fieldOf(FIELD.results, map, scope)}#${item}.${ending}`;
}

/** Items of a map so far, from its field; null: it did not begin. */
export const itemsTotal = (map: string | null): number => Number(map?.split(",")[0] ?? 0);

/** Was the map stopped before all its items were over? */
export const isStopped = (map: string): boolean => map.endsWith(",1");

/** What a run performs to undo its work: node and scope ("": in none); undefined: nothing. */
export function undoneBy(undoing: string | null): { node: number; scope: string } | undefined {
  const [, node, scope = ""] = /^(\d+)(?:@(.+))?$/.exec(undoing ?? "") ?? [];
  return node === undefined ? undefined : { node: Number(node), scope };
}
