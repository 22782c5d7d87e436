/** The game itself: what is active, what is over, and what each move does. See reference.ts. */
import { type Expression, evaluate, type Json, type JsonObject } from "./expression.ts";
import {
  ANSWERED_BY,
  type Behaviour,
  compensationOf,
  type SimulatedEdge,
  type SimulatedMap,
  type SimulatedNode,
  type SimulatedWorkflow,
} from "./model.ts";
import type { Child, Game, GameResult, Halt, NodeResult, Told } from "./reference.ts";
import {
  type Awaiting,
  attempt,
  awaits,
  type Failure,
  failure,
  type Outcome,
  type Place,
  run,
  type Tried,
} from "./reference_nodes.ts";
import {
  type Arrival,
  decide,
  decideLoop,
  type LoopDecision,
  type NodeError,
  type Reason,
  type Routes,
  routesOfFailed,
  routesOfSkipped,
  routesOfSuccess,
} from "./reference_routing.ts";
import { enclosing, type Frame, isWithin, keyOf, Scopes } from "./reference_scopes.ts";
import { type Body, Structure } from "./structure.ts";

/** An execution that is not over. */
interface Execution {
  key: string;
  node: SimulatedNode;
  frame: Frame;
  data: Json;
  /** Those of its predecessors that it fired on, and all of them. */
  from: string[];
  predecessors: string[];
  /** Of a map that could begin its items. */
  fan?: Fan;
  /** The event that it waits for has arrived. */
  woken?: boolean;
  /** Completed before this one was activated, which therefore is skipped. */
  forestalledBy?: string | undefined;
}

type Activation = Pick<Execution, "data" | "from" | "predecessors">;

/** The items of a map execution. */
interface Fan {
  body: Body & { kind: "map" };
  items: Json[];
  begun: Frame[];
  over: Set<Frame>;
  /** `complete_when` was true once. */
  enough: boolean;
}

interface Withdrawal {
  by: string;
  frame: Frame;
  ids: string[];
}

type Routed = { attempts: number } & (
  | { output: Json; routes: Routes; decision: LoopDecision | undefined }
  | { failure: Failure }
);

export class TokenGame implements Game {
  readonly #workflow: SimulatedWorkflow;
  readonly #input: Json;
  readonly #structure: Structure;
  readonly #scopes: Scopes;
  readonly #active = new Map<string, Execution>();
  readonly #results = new Map<string, NodeResult>();
  /** Failures of the run; those inside items are the map's. */
  readonly #unhandled: NodeResult[] = [];
  readonly #withdrawals: Withdrawal[] = [];
  readonly #children = new Map<string, Child>();
  /** What is undone in the end, in the order in which it completed. */
  readonly #undoable: [SimulatedNode, Frame][] = [];
  #halted: Halt | null = null;
  #compensating = false;
  #moves = 0;

  constructor(workflow: SimulatedWorkflow, input: Json) {
    this.#workflow = workflow;
    this.#input = input;
    this.#structure = new Structure(workflow);
    this.#scopes = new Scopes(this.#structure);
    for (const id of this.#structure.entries()) this.#enter(id, this.#scopes.root, input);
    this.#tidy();
  }

  enabled(): string[] {
    return [...this.#active.values()].filter(isReady).map(({ key }) => key);
  }

  outstanding(): string[] {
    return [...this.#active.keys()];
  }

  dataOf(key: string): Json {
    return (this.#active.get(key) ?? this.#results.get(key))?.data ?? null;
  }

  resolve(key: string, behaviour?: Behaviour, told: Told = {}): NodeResult {
    const execution = this.#active.get(key);
    if (execution === undefined || !isReady(execution)) throw new Error(`${key} is not enabled`);
    if (execution.forestalledBy !== undefined) return this.#forestall(execution, execution.forestalledBy);
    this.#moves += 1;
    const outcome = this.#runAndRoute(execution, behaviour, told);
    const inTime = !("failure" in outcome && outcome.failure.code === "SIGNAL_TIMED_OUT");
    const cameFirst = told.unnoticed === true && this.#cameFirst(execution);
    if (isEvent(execution.node) && inTime && !cameFirst) this.#withdrawOthers(execution);
    if ("failure" in outcome) this.#fail(execution, worded(outcome.failure, told.error), outcome.attempts);
    else this.#complete(execution, outcome);
    this.#tidy();
    if (this.#workflow.fail_fast === true && this.#unhandled.length > 0) this.#halted ??= "fail_fast";
    return this.#results.get(key)!;
  }

  childOf(key: string): Child | null {
    return this.#children.get(key) ?? null;
  }

  fireOn(key: string, from: string): boolean {
    const execution = this.#active.get(key);
    if (execution?.node.trigger_rule !== "one_success") return false;
    const { node, frame } = execution;
    const edges = this.#taken(node.id, frame).filter((edge) => edge.from === from);
    if (edges.length === 0) return false;
    Object.assign(execution, this.#activation(node.id, frame, edges));
    return true;
  }

  wake(key: string): boolean {
    const execution = this.#active.get(key);
    if (execution === undefined || !isEvent(execution.node) || this.#halted !== null) return false;
    this.#withdrawOthers(execution);
    this.#tidy();
    return true;
  }

  close(key: string): boolean {
    const execution = this.#active.get(key);
    if (execution?.fan?.enough !== true) return false;
    this.#recallItems(execution, execution.node.id);
    return true;
  }

  skipUnless(key: string): boolean {
    const execution = this.#active.get(key);
    const by = execution && this.#completedOf(execution.node.unless, execution.frame);
    if (execution === undefined || by === undefined || execution.fan !== undefined) return false;
    this.#forestall(execution, by);
    return true;
  }

  isHalting(): boolean {
    return this.#halted !== null && !this.#compensating;
  }

  cancel(paused = false): boolean {
    if (this.#active.size === 0 && !paused) return false;
    if (this.#compensating) return true;
    this.#halted ??= "cancel";
    this.#tidy();
    return true;
  }

  withdraw(key: string, behaviour?: Behaviour): NodeResult {
    if (!this.isHalting()) throw new Error(`${key} is withdrawn from a game that goes on`);
    const execution = this.#active.get(key);
    if (execution === undefined) throw new Error(`${key} is not outstanding`);
    this.#moves += 1;
    const { node } = execution;
    const attempts = awaits(node) ? 1 : run(node, this.#placeOf(execution), behaviour).attempts;
    this.#end(execution, { status: "CANCELLED", attempts, data: null });
    this.#tidy();
    return this.#results.get(key)!;
  }

  forgetItems(begun: (scope: string) => boolean): void {
    for (const frame of this.#scopes.all)
      if (frame.body?.kind === "map" && !begun(frame.scope))
        for (const { key } of this.#activeIn(frame)) this.#active.delete(key);
    this.#tidy();
  }

  result(): GameResult {
    const over = {
      nodes: Object.fromEntries(this.#results),
      halted: this.#halted,
      error: null,
      output: null,
    };
    if (this.#active.size > 0) return { ...over, status: "RUNNING" };
    const status = this.#verdict();
    if (this.#halted !== null)
      for (const { id } of this.#structure.nodes)
        if (this.#structure.bodiesOf(id).length === 0) over.nodes[id] ??= this.#neverActivated(id);
    const [first] = this.#unhandled;
    if (status === "COMPLETED") return { ...over, status, output: this.#runOutput() };
    if (status === "CANCELLED" || first === undefined) return { ...over, status };
    return { ...over, status, error: { ...first.error!, node_id: first.node_id } };
  }

  #verdict(): "COMPLETED" | "FAILED" | "CANCELLED" {
    if (this.#halted === "cancel") return "CANCELLED";
    return this.#unhandled.length > 0 ? "FAILED" : "COMPLETED";
  }

  #neverActivated(id: string): NodeResult {
    return { ...NOTHING, node_id: id, scope: "", status: "CANCELLED", attempts: 0, move: this.#moves };
  }

  #runOutput(): Json {
    if (this.#workflow.output === undefined) return this.#outputIn(this.#scopes.root);
    const nodes = this.#outputsSeenFrom(this.#scopes.root);
    return evaluate(this.#workflow.output, { variables: { input: this.#input }, nodes });
  }

  /** What a scope's terminal nodes gave: the one's output, or an object of those that completed. */
  #outputIn(frame: Frame): Json {
    const terminals = this.#structure.terminals(frame.body);
    const outputs = terminals.map((id) => [id, this.#lastResult(id, frame)] as const);
    if (outputs.length === 1) return outputs[0]![1]?.output ?? null;
    const completed = outputs.filter(([, result]) => result?.status === "COMPLETED");
    return Object.fromEntries(completed.map(([id, result]) => [id, result!.output]));
  }

  /** The execution of a node that is seen from a scope. */
  #lastResult(id: string, from: Frame): NodeResult | undefined {
    const frame = this.#scopes.lastFrameOf(id, from);
    return frame && this.#results.get(keyOf(id, frame.scope));
  }

  #activeIn(frame: Frame): Execution[] {
    return [...this.#active.values()].filter((execution) => isWithin(execution.frame, frame));
  }

  // Arrivals

  #enter(id: string, from: Frame, data: Json, predecessors: string[] = []): void {
    const frame = this.#scopes.frameOf(id, from);
    this.#activate(this.#structure.node(id), frame, { data, from: predecessors, predecessors });
  }

  #send(from: Frame, routes: Routes): void {
    if (this.#halted !== null) return;
    const targets = [...routes].map(([edge, arrival]) => {
      const frame = this.#scopes.frameOf(edge.to, from);
      frame.arrivals.set(edge, arrival);
      return [edge.to, frame] as const;
    });
    for (const [id, frame] of targets) this.#settle(id, frame);
  }

  #settle(id: string, frame: Frame): void {
    const key = keyOf(id, frame.scope);
    if (this.#active.has(key) || this.#results.has(key)) return;
    const node = this.#structure.node(id);
    const arrivals = this.#structure.incoming(id).map((edge) => frame.arrivals.get(edge));
    const decision = decide(node, arrivals);
    if (decision === "wait") return;
    if (decision === "fire") {
      this.#activate(node, frame, this.#activation(id, frame, this.#taken(id, frame)));
      return;
    }
    const skipped = { key, node, frame, data: null, from: [], predecessors: [] };
    this.#end(skipped, { status: "SKIPPED", reason: decision, attempts: 0 });
    this.#send(frame, routesOfSkipped(this.#structure.outgoing(id), decision));
  }

  #taken(id: string, frame: Frame): SimulatedEdge[] {
    return this.#structure.incoming(id).filter((edge) => frame.arrivals.get(edge)?.kind === "taken");
  }

  #activation(id: string, frame: Frame, edges: readonly SimulatedEdge[]): Activation {
    const predecessors = this.#structure.incoming(id).map((edge) => edge.from);
    const seen = edges.map((edge): [string, Json] => [edge.from, seenIn(frame.arrivals.get(edge)!)]);
    const single = new Set(predecessors).size === 1;
    const data = single ? (seen[0]?.[1] ?? null) : Object.fromEntries(seen);
    return { data, from: [...new Set(seen.map(([from]) => from))], predecessors };
  }

  #activate(node: SimulatedNode, frame: Frame, activation: Activation): void {
    const key = keyOf(node.id, frame.scope);
    const forestalledBy = this.#completedOf(node.unless, frame);
    const execution: Execution = { key, node, frame, ...activation, forestalledBy };
    this.#active.set(key, execution);
    if (node.type === "map" && forestalledBy === undefined) this.#open(execution, node);
    if (node.type === "subworkflow") this.#callChild(execution, node.workflow, node.input);
    if (node.cancel_rest === true)
      this.#withdrawals.push({ by: node.id, frame, ids: this.#structure.regionOf(node.id) });
  }

  #callChild(execution: Execution, workflow: SimulatedWorkflow, input?: Record<string, Expression>): void {
    const { bindings } = this.#placeOf(execution);
    const given = attempt(() =>
      Object.entries(input ?? {}).map(([name, value]) => [name, evaluate(value, bindings)]),
    );
    if (given === null) return;
    const { key, data } = execution;
    this.#children.set(key, { workflow, input: input === undefined ? data : Object.fromEntries(given) });
  }

  #completedOf(ids: readonly string[] | undefined, frame: Frame): string | undefined {
    return ids?.find((id) => this.#lastResult(id, frame)?.status === "COMPLETED");
  }

  // Outcomes

  #end(
    { key, node, frame, data, from }: Execution,
    over: Pick<NodeResult, "status" | "attempts"> & Partial<NodeResult>,
  ): NodeResult {
    const ran = over.status === "COMPLETED" || over.status === "FAILED";
    const given = { data: ran ? data : null, from_nodes: from, move: this.#moves };
    const result = { ...NOTHING, node_id: node.id, scope: frame.scope, ...given, ...over };
    this.#active.delete(key);
    this.#results.set(key, result);
    return result;
  }

  #complete(
    execution: Execution,
    { output, routes, decision, attempts }: Extract<Routed, { routes: Routes }>,
  ): void {
    const { node, frame } = execution;
    this.#end(execution, { status: "COMPLETED", output, attempts });
    if (node.compensated === true) this.#undoable.push([node, frame]);
    if (decision === "again") frame.onceIdle = "again";
    else this.#send(frame, routes);
    if (!isEvent(node)) this.#withdrawOthers(execution);
  }

  #fail(execution: Execution, error: NodeError, attempts: number): void {
    const { frame } = execution;
    const place = this.#placeOf(execution, { output: null, error: { ...error } });
    const result = this.#end(execution, { status: "FAILED", error, attempts });
    if (this.#compensating) return;
    const routes = routesOfFailed(place, error);
    this.#send(frame, routes);
    if ([...routes.values()].some(({ kind }) => kind === "taken")) return;
    const item = enclosing(frame, "map");
    if (item !== undefined) item.failed = true;
    else this.#unhandled.push(result);
  }

  #forestall(execution: Execution, by: string): NodeResult {
    this.#moves += 1;
    const reason: Reason = { kind: "unless", node: by };
    const result = this.#end({ ...execution, from: [] }, { status: "SKIPPED", reason, attempts: 0 });
    this.#send(execution.frame, routesOfSkipped(this.#structure.outgoing(execution.node.id), reason));
    this.#tidy();
    return result;
  }

  #placeOf({ node, frame, data, predecessors }: Execution, more: Record<string, Json> = {}): Place {
    const loop = enclosing(frame, "loop");
    const item = enclosing(frame, "map");
    const variables = {
      data,
      input: this.#input,
      ...(loop === undefined ? {} : { loop: { iteration: loop.index } }),
      ...(item === undefined ? {} : { item: item.item, index: item.index }),
      ...more,
    };
    const bindings = { variables, nodes: this.#outputsSeenFrom(frame) };
    return { node, edges: this.#structure.outgoing(node.id), bindings, predecessors };
  }

  #outputsSeenFrom(frame: Frame): JsonObject {
    const { nodes } = this.#structure;
    return Object.fromEntries(nodes.map(({ id }) => [id, this.#outputSeenFrom(frame, id)]));
  }

  /** Of a loop that was left: of the last iteration in which its loop node ran. */
  #outputSeenFrom(from: Frame, id: string): Json {
    const last = this.#scopes.lastFrameOf(id, from);
    const isLeft = last !== undefined && !isWithin(from, last);
    const frames = isLeft ? this.#scopes.iterationsOf(last) : [last].filter((frame) => frame !== undefined);
    const results = frames.map(({ scope }) => this.#results.get(keyOf(id, scope)));
    const ran = results.findLast((result) => result?.status === "COMPLETED" || result?.status === "FAILED");
    return ran?.output ?? null;
  }

  /** Does an execution's work and, if it succeeds, routes its output. A condition that fails turns the success into a failure. */
  #runAndRoute(execution: Execution, behaviour: Behaviour | undefined, told: Told): Routed {
    const { node, frame } = execution;
    const place = this.#placeOf(execution);
    const outcome: Tried = awaits(node)
      ? { ...this.#await(node, execution, told), attempts: 1 }
      : run(node, place, behaviour);
    if ("failure" in outcome) return outcome;
    const { output, attempts } = outcome;
    const variables = { ...place.bindings.variables, output, error: null };
    const bindings = { variables, nodes: { ...place.bindings.nodes, [node.id]: output } };
    const routed = attempt((): Routed => {
      const decision = node.type === "loop" ? decideLoop(node, frame.index, bindings) : undefined;
      if (decision === "again") return { ...outcome, routes: new Map(), decision };
      if (node.type === "loop" && decision === "timeout" && node.timeout_path === undefined)
        return { ...failure("LOOP_EXHAUSTED"), attempts };
      return { ...outcome, routes: routesOfSuccess({ ...place, bindings }, output, decision), decision };
    });
    return routed ?? { ...failure("CONDITION_FAILED"), attempts };
  }

  #await(node: Awaiting, execution: Execution, { error, child, at = null }: Told): Outcome {
    switch (node.type) {
      case "map":
        return this.#resultOfMap(node, execution);
      case "subworkflow":
        if (child === undefined) return failure(null);
        return child.status === "COMPLETED" ? child : failure(`CHILD_${child.status}`);
      case "signal":
      case "approval": {
        const late = node.deadline_ms !== undefined && error?.code === "SIGNAL_TIMED_OUT";
        if (late || node.answer === null) return failure("SIGNAL_TIMED_OUT");
        return { output: node.type === "signal" ? node.answer : { ...node.answer, by: ANSWERED_BY, at } };
      }
    }
  }

  // Maps

  #open(execution: Execution, node: SimulatedNode & SimulatedMap): void {
    const list = this.#itemsOf(execution, node);
    if ("failure" in list) return;
    const body = this.#structure.bodies.find((of) => of.node === node);
    if (body?.kind !== "map") throw new Error(`${node.id} has no body`);
    execution.fan = { body, items: list.items, begun: [], over: new Set(), enough: false };
    this.#beginItems(execution.frame, execution.fan);
  }

  #itemsOf(execution: Execution, { items }: SimulatedMap): { items: Json[] } | { failure: Failure } {
    const found = attempt(() => ({ value: evaluate(items, this.#placeOf(execution).bindings) }));
    if (found === null) return failure(null);
    return Array.isArray(found.value) ? { items: found.value } : failure("MAP_NOT_A_LIST");
  }

  #beginItems(parent: Frame, { body, items, begun, over }: Fan): void {
    const most = body.node.max_concurrency ?? MAX_CONCURRENCY;
    while (this.#halted === null && begun.length < items.length && begun.length - over.size < most) {
      const item = items[begun.length]!;
      const frame = this.#scopes.frame(body, parent, begun.length, item);
      begun.push(frame);
      for (const id of this.#structure.entries(body)) this.#enter(id, frame, item);
    }
  }

  #itemOver(frame: Frame): void {
    const { body, parent } = frame;
    const fan = this.#active.get(keyOf(body!.node.id, parent!.scope))?.fan;
    if (fan === undefined) return;
    fan.over.add(frame);
    const failed = failedOf(fan).length;
    const counts = { completed: fan.over.size - failed, failed, total: fan.items.length };
    const { complete_when } = fan.body.node;
    const bindings = { variables: { ...counts, input: this.#input }, nodes: {} };
    if (complete_when && attempt(() => evaluate(complete_when, bindings)) === true) fan.enough = true;
    this.#beginItems(parent!, fan);
  }

  #resultOfMap(node: SimulatedNode & SimulatedMap, execution: Execution): Outcome {
    const { fan } = execution;
    if (fan === undefined) {
      const list = this.#itemsOf(execution, node);
      return "failure" in list ? list : failure(null);
    }
    this.#recallItems(execution, node.id);
    const tolerated = node.tolerated_failures ?? 0;
    if (!fan.enough && failedOf(fan).length > tolerated) return failure("MAP_FAILED");
    const resultOf = (frame: Frame | undefined): Json =>
      frame === undefined || frame.failed || !fan.over.has(frame) ? null : this.#outputIn(frame);
    return { output: fan.items.map((_item, index) => resultOf(fan.begun[index])) };
  }

  /** What is under way in a map's items ends with it; nothing is sent inside them. */
  #recallItems({ fan }: Execution, by: string): void {
    for (const item of fan?.begun ?? []) {
      for (const execution of this.#activeIn(item)) this.#recall(execution, by);
      for (const frame of this.#scopes.all) if (isWithin(frame, item)) frame.onceIdle = undefined;
    }
  }

  // Withdrawal, and what comes when nothing is outstanding

  #withdrawOthers(execution: Execution): void {
    const { node, frame, woken } = execution;
    if (node.cancels === undefined || woken === true || this.#halted !== null) return;
    execution.woken = true;
    this.#withdrawals.push({ by: node.id, frame, ids: this.#structure.expand(node.cancels, node.id) });
    if (isEvent(node)) this.#performWithdrawals();
  }

  /** Was it activated before all active ones that it withdraws? */
  #cameFirst({ key, node, frame }: Execution): boolean {
    const ids = this.#structure.expand(node.cancels ?? [], node.id);
    const others = this.#activeIn(frame).filter((other) => other.key === key || ids.includes(other.node.id));
    return others[0]?.key === key;
  }

  #performWithdrawals(): void {
    for (let next = this.#withdrawals.shift(); next !== undefined; next = this.#withdrawals.shift()) {
      const { by, frame, ids } = next;
      for (const id of ids)
        for (const execution of this.#activeIn(frame).filter(({ node }) => node.id === id)) {
          this.#recallItems(execution, by);
          const reason = this.#recall(execution, by);
          this.#send(execution.frame, routesOfSkipped(this.#structure.outgoing(id), reason));
        }
    }
  }

  #recall(execution: Execution, by: string): Reason {
    const reason: Reason = { kind: "withdrawn", node: by };
    this.#end(execution, { status: "CANCELLED", reason, attempts: execution.node.retry?.max_attempts ?? 1 });
    return reason;
  }

  #tidy(): void {
    const isIdle = (frame: Frame): boolean => this.#activeIn(frame).length === 0;
    for (let next: Frame | undefined; ; this.#turn(next)) {
      this.#performWithdrawals();
      next = this.#scopes.all.findLast((frame) => frame.onceIdle !== undefined && isIdle(frame));
      if (next === undefined) break;
    }
    if (this.#active.size === 0 && this.#verdict() !== "COMPLETED") this.#undoNext();
  }

  /** Nothing is outstanding in a scope. */
  #turn(frame: Frame): void {
    const { onceIdle, body, parent, index, scope } = frame;
    frame.onceIdle = undefined;
    if (onceIdle === "item over") this.#itemOver(frame);
    if (this.#halted !== null || body?.kind !== "loop") return;
    const { id, loop_back_to } = body.node;
    const { output } = this.#results.get(keyOf(id, scope))!;
    this.#enter(loop_back_to, this.#scopes.frame(body, parent, index + 1), output, [id]);
  }

  #undoNext(): void {
    const [node, frame] = this.#undoable.pop() ?? [];
    if (node === undefined || frame === undefined) return;
    this.#compensating = true;
    const data = this.#results.get(keyOf(node.id, frame.scope))!.output;
    const { retry } = node;
    const undoing = { id: compensationOf(node.id), type: "function", ...(retry && { retry }) } as const;
    this.#activate(undoing, frame, { data, from: [node.id], predecessors: [node.id] });
  }
}

const NOTHING = { reason: null, output: null, error: null, data: null, from_nodes: [] };

const MAX_CONCURRENCY = 1000;

function isReady({ fan }: Execution): boolean {
  return fan === undefined || fan.enough || fan.over.size === fan.items.length;
}

function isEvent({ type }: SimulatedNode): boolean {
  return type === "wait" || type === "signal" || type === "approval";
}

function failedOf({ over }: Fan): Frame[] {
  return [...over].filter(({ failed }) => failed);
}

function seenIn(arrival: Arrival): Json {
  return arrival.kind === "taken" ? arrival.seen : null;
}

function worded(failure: Failure, wording: NodeError | undefined): NodeError {
  return {
    code: failure.code ?? wording?.code ?? "NOT_FIXED",
    message: failure.message ?? wording?.message ?? "",
  };
}
