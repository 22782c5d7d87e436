/** Scopes of a game: the tree of iterations and items in which executions have their place. */
import type { Json } from "./expression.ts";
import type { SimulatedEdge } from "./model.ts";
import type { Arrival } from "./reference_routing.ts";
import type { Body, Structure } from "./structure.ts";

export function keyOf(id: string, scope: string): string {
  return scope === "" ? id : `${id}@${scope}`;
}

/** The node's id in a key. */
export function idIn(key: string): string {
  return key.split("@", 1)[0]!;
}

/** A scope: one execution of a body, or the run itself. Executions have their place in it. */
export interface Frame {
  scope: string;
  body: Body | undefined;
  parent: Frame | undefined;
  /** Iteration from 1, or item from 0. */
  index: number;
  item: Json;
  arrivals: Map<SimulatedEdge, Arrival>;
  /** What happens when nothing is outstanding in it any more. */
  onceIdle: "again" | "item over" | undefined;
  /** A failure in it was unhandled. */
  failed: boolean;
}

export class Scopes {
  /** Outer ones before those inside them. */
  readonly all: Frame[] = [];
  readonly root: Frame;
  readonly #structure: Structure;

  constructor(structure: Structure) {
    this.#structure = structure;
    this.root = this.frame(undefined, undefined, 0);
  }

  /** The scope of an iteration or item, which begins if it has not yet. */
  frame(body: Body | undefined, parent: Frame | undefined, index: number, item: Json = null): Frame {
    const scope =
      body === undefined ? "" : [parent!.scope, `${body.node.id}:${index}`].filter(Boolean).join("/");
    const known = this.all.find((frame) => frame.scope === scope);
    if (known !== undefined) return known;
    const onceIdle = body?.kind === "map" ? "item over" : undefined;
    const frame: Frame = { scope, body, parent, index, item, arrivals: new Map(), onceIdle, failed: false };
    this.all.push(frame);
    return frame;
  }

  /** The scope in which a node is reached from another scope: out of the bodies that are left, into the first iterations of loops. */
  frameOf(id: string, from: Frame): Frame {
    let frame = outTo(id, from);
    for (const body of this.#bodiesBelow(id, frame)) frame = this.frame(body, frame, 1);
    return frame;
  }

  /** The iterations or items among which a scope is, so far. */
  iterationsOf({ body, parent }: Frame): Frame[] {
    return this.all.filter((frame) => frame.body === body && frame.parent === parent);
  }

  /** The scope of a node's execution that is seen from another: of a loop that was left, the last one. */
  lastFrameOf(id: string, from: Frame): Frame | undefined {
    let frame: Frame | undefined = outTo(id, from);
    for (const body of this.#bodiesBelow(id, frame)) {
      const parent: Frame | undefined = frame;
      frame = this.all.findLast((other) => other.body === body && other.parent === parent);
    }
    return frame;
  }

  #bodiesBelow(id: string, frame: Frame): Body[] {
    const bodies = this.#structure.bodiesOf(id);
    return frame.body === undefined ? bodies : bodies.slice(bodies.indexOf(frame.body) + 1);
  }
}

export function isWithin(frame: Frame | undefined, outer: Frame): boolean {
  return frame === outer || (frame !== undefined && isWithin(frame.parent, outer));
}

/** The innermost scope of this kind around a place. */
export function enclosing(frame: Frame | undefined, kind: Body["kind"]): Frame | undefined {
  return frame === undefined || frame.body?.kind === kind ? frame : enclosing(frame.parent, kind);
}

/** Out of the bodies in which a node is not. */
function outTo(id: string, frame: Frame): Frame {
  return frame.body === undefined || frame.body.members.has(id) ? frame : outTo(id, frame.parent!);
}
