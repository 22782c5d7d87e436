/** The game itself: what is active, what is over, and what each move does. See reference.ts. */
import { type Expression, evaluate, type Json, type JsonObject } from "./expression.ts";
import {
  ANSWERED_BY,
  type Behaviour,
  compensationOf,
  isTransient,
  type MapSignal,
  type SimulatedEdge,
  type SimulatedMap,
  type SimulatedNode,
  type SimulatedWorkflow,
  signalNameOf,
} from "./model.ts";
import type { Child, Game, GameResult, Halt, Moment, NodeResult, Told } from "./reference.ts";
import { type Execution, Executions } from "./reference_executions.ts";
import { Items } from "./reference_items.ts";
import { attempt, awaits, type Failure, failure, type Outcome, run } from "./reference_nodes.ts";
import { outcomeOf, type Routed } from "./reference_outcomes.ts";
import {
  type Arrival,
  decide,
  type NodeError,
  type Reason,
  type Routes,
  routesOfFailed,
  routesOfSkipped,
} from "./reference_routing.ts";
import { enclosing, type Frame, keyOf, Scopes } from "./reference_scopes.ts";
import { type Fate, type Signal, SignalLine } from "./reference_signals.ts";
import { Withdrawals } from "./reference_withdrawals.ts";
import { Structure } from "./structure.ts";

type Activation = Pick<Execution, "from" | "predecessors"> & { data: Json };

/** Each kind without its place in the order. */
type Unordered<T> = T extends unknown ? Omit<T, "order"> : never;

export class TokenGame implements Game {
  readonly #workflow: SimulatedWorkflow;
  readonly #input: Json;
  readonly #structure: Structure;
  readonly #scopes: Scopes;
  readonly #executions: Executions;
  readonly #line = new SignalLine();
  readonly #moments: Moment[] = [];
  /** Failures of the run; those inside items are the map's. */
  readonly #unhandled: NodeResult[] = [];
  readonly #withdrawals: Withdrawals;
  readonly #children = new Map<string, Child>();
  /** What is undone in the end, in the order in which it completed. */
  readonly #undoable: [SimulatedNode, Frame][] = [];
  #halted: Halt | null = null;
  #compensating = false;

  constructor(workflow: SimulatedWorkflow, input: Json) {
    this.#workflow = workflow;
    this.#input = input;
    this.#structure = new Structure(workflow);
    this.#scopes = new Scopes(this.#structure);
    this.#executions = new Executions(this.#structure, this.#scopes, input);
    this.#withdrawals = new Withdrawals(this.#structure, this.#scopes, this.#executions);
    for (const id of this.#structure.entries()) this.#enter(id, this.#scopes.root, input);
    this.#tidy();
  }

  enabled(): string[] {
    return [...this.#executions.active.values()].filter(isReady).map(({ key }) => key);
  }

  outstanding(): string[] {
    return [...this.#executions.active.keys()];
  }

  dataOf(key: string): Json {
    return (this.#executions.active.get(key) ?? this.#executions.over.get(key))?.data ?? null;
  }

  resolve(key: string, behaviour?: Behaviour, told: Told = {}): NodeResult {
    const execution = this.#executions.active.get(key);
    if (execution === undefined || !isReady(execution)) throw new Error(`${key} is not enabled`);
    if (execution.forestalledBy !== undefined) return this.#forestall(execution, execution.forestalledBy);
    this.#executions.moves += 1;
    const outcome = outcomeOf(execution, this.#executions, behaviour, () => this.#await(execution, told));
    // After the event a failure can only be that of a condition.
    const happened = !("failure" in outcome) || outcome.failure.code === "CONDITION_FAILED";
    const isTimer = execution.node.type === "wait" && told.unnoticed === true;
    const cameFirst = isTimer && this.#withdrawals.cameFirst(execution);
    if (isEvent(execution.node) && happened && !cameFirst) this.#withdrawOthers(execution);
    if ("failure" in outcome) this.#fail(execution, worded(outcome.failure, told.error), outcome.attempts);
    else this.#complete(execution, outcome);
    this.#withdrawals.recallItems(execution, execution.node.id);
    this.#tidy();
    if (this.#workflow.fail_fast === true && this.#unhandled.length > 0) this.#halted ??= "fail_fast";
    return this.#executions.over.get(key)!;
  }

  childOf(key: string): Child | null {
    return this.#children.get(key) ?? null;
  }

  fireOn(key: string, from: string): boolean {
    const execution = this.#executions.active.get(key);
    if (execution?.node.trigger_rule !== "one_success") return false;
    const { node, frame } = execution;
    const edges = this.#taken(node.id, frame).filter((edge) => edge.from === from);
    if (edges.length === 0) return false;
    Object.assign(execution, this.#activation(node.id, frame, edges));
    execution.data = this.#executions.replacedData(execution);
    return true;
  }

  wake(key: string): boolean {
    const execution = this.#executions.active.get(key);
    if (execution === undefined || !isEvent(execution.node) || this.#halted !== null) return false;
    this.#withdrawOthers(execution);
    this.#tidy();
    return true;
  }

  looks(): string[] {
    if (this.#halted !== null) return [];
    const looking = [...this.#executions.active.values()].filter(
      ({ items }) => items?.isLooking() === true && !items.lookFails(),
    );
    return looking.map(({ key }) => key);
  }

  look(key: string): boolean | null {
    const execution = this.#executions.active.get(key);
    const { items } = execution ?? {};
    if (execution === undefined || items?.isLooking() !== true) return null;
    const answer = items.lookAnswers();
    if (answer === null) return null;
    this.#note({ kind: "look", key, answer });
    items.endLook();
    this.#goOnWithMap(execution, items);
    return answer;
  }

  wait(key: string, due: number | null = null): boolean {
    const execution = this.#executions.active.get(key);
    if (execution === undefined || !awaits(execution.node)) return execution?.node.type === "wait";
    this.#note({ kind: "wait", key, due });
    const { node, frame, items } = execution;
    const name = signalNameOf(node);
    if (items !== undefined) {
      const signal = this.#line.use(key);
      if (signal !== undefined) items.add(signal.payload as MapSignal);
      this.#goOnWithMap(execution, items);
    } else if (name !== undefined) {
      this.#line.stand({ key, name, scope: frame.scope });
      if (this.#line.inHand(key) !== undefined) this.wake(key);
    }
    return true;
  }

  takesSignals(key: string): boolean {
    return this.#halted === null && this.#executions.active.get(key)?.items?.takesSignals() === true;
  }

  signal(signal: Signal): Fate {
    this.#note({ kind: "signal", signal });
    const isAble = (key: string): boolean => {
      const execution = this.#executions.active.get(key);
      return execution !== undefined && (execution.items?.takesSignals() ?? true);
    };
    const [fate, taker] = this.#line.give(signal, isTransient(this.#workflow, signal.name), isAble);
    if (taker !== undefined) this.wake(taker);
    return fate;
  }

  moments(): Moment[] {
    return this.#moments;
  }

  skipUnless(key: string): boolean {
    const execution = this.#executions.active.get(key);
    const by = execution && this.#executions.completedOf(execution.node.unless, execution.frame);
    if (execution === undefined || by === undefined || execution.items !== undefined) return false;
    this.#forestall(execution, by);
    return true;
  }

  isHalting(): boolean {
    return this.#halted !== null && !this.#compensating;
  }

  cancel(unfinished = false): boolean {
    if (this.#executions.active.size === 0 && !unfinished) return false;
    if (this.#compensating && !unfinished) return true;
    this.#halted ??= "cancel";
    // What is to be undone is known already: it begins after this.
    if (this.#compensating) return true;
    this.#tidy();
    return true;
  }

  withdraw(key: string, behaviour?: Behaviour): NodeResult {
    if (!this.isHalting()) throw new Error(`${key} is withdrawn from a game that goes on`);
    const execution = this.#executions.active.get(key);
    if (execution === undefined) throw new Error(`${key} is not outstanding`);
    this.#executions.moves += 1;
    const { node } = execution;
    const once = awaits(node) || execution.data === undefined;
    const attempts = once ? 1 : run(node, this.#executions.placeOf(execution), behaviour).attempts;
    this.#executions.end(execution, { status: "CANCELLED", attempts, data: null });
    this.#tidy();
    return this.#executions.over.get(key)!;
  }

  forgetItems(begun: (scope: string) => boolean): void {
    for (const frame of this.#scopes.all)
      if (frame.body?.kind === "map" && !begun(frame.scope))
        for (const { key } of this.#executions.activeIn(frame)) this.#executions.active.delete(key);
    this.#tidy();
  }

  result(): GameResult {
    const over = {
      nodes: Object.fromEntries(this.#executions.over),
      halted: this.#halted,
      error: null,
      output: null,
    };
    if (this.#executions.active.size > 0) return { ...over, status: "RUNNING" };
    const status = this.#verdict();
    if (this.#halted !== null)
      for (const { id } of this.#structure.nodes)
        if (this.#structure.bodiesOf(id).length === 0) over.nodes[id] ??= this.#executions.neverActivated(id);
    const [first] = this.#unhandled;
    if (status === "COMPLETED")
      return { ...over, status, output: this.#executions.outputOfRun(this.#workflow) };
    if (status === "CANCELLED" || first === undefined) return { ...over, status };
    return { ...over, status, error: { ...first.error!, node_id: first.node_id } };
  }

  #note(moment: Unordered<Moment>): void {
    this.#executions.moves += 1;
    this.#moments.push({ ...moment, order: this.#executions.moves } as Moment);
  }

  #verdict(): "COMPLETED" | "FAILED" | "CANCELLED" {
    if (this.#halted === "cancel") return "CANCELLED";
    return this.#unhandled.length > 0 ? "FAILED" : "COMPLETED";
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
    if (this.#executions.active.has(key) || this.#executions.over.has(key)) return;
    const node = this.#structure.node(id);
    const arrivals = this.#structure.incoming(id).map((edge) => frame.arrivals.get(edge));
    const decision = decide(node, arrivals);
    if (decision === "wait") return;
    if (decision === "fire") {
      this.#activate(node, frame, this.#activation(id, frame, this.#taken(id, frame)));
      return;
    }
    const skipped = { key, node, frame, data: null, from: [], predecessors: [] };
    this.#executions.end(skipped, { status: "SKIPPED", reason: decision, attempts: 0 });
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
    const forestalledBy = this.#executions.completedOf(node.unless, frame);
    const execution: Execution = { key, node, frame, ...activation, forestalledBy };
    execution.data = this.#executions.replacedData(execution);
    this.#executions.active.set(key, execution);
    const hasData = execution.data !== undefined;
    if (node.type === "map" && hasData && forestalledBy === undefined) this.#open(execution, node);
    if (node.type === "subworkflow" && hasData) this.#callChild(execution, node.workflow, node.input);
    if (node.cancel_rest === true) this.#withdrawals.setOffByJoin(node, frame);
  }

  #callChild(execution: Execution, workflow: SimulatedWorkflow, input?: Record<string, Expression>): void {
    const { bindings } = this.#executions.placeOf(execution);
    const given = attempt(() =>
      Object.entries(input ?? {}).map(([name, value]) => [name, evaluate(value, bindings)]),
    );
    if (given === null) return;
    const { key, data = null } = execution;
    this.#children.set(key, { workflow, input: input === undefined ? data : Object.fromEntries(given) });
  }

  // Outcomes

  #complete(
    execution: Execution,
    { output, notBefore, routes, decision, attempts }: Extract<Routed, { routes: Routes }>,
  ): void {
    const { node, frame } = execution;
    this.#executions.end(execution, { status: "COMPLETED", output, attempts, not_before: notBefore ?? null });
    if (node.compensated === true) this.#undoable.push([node, frame]);
    if (decision === "again") frame.onceIdle = "again";
    else {
      if (![...routes.values()].some(({ kind }) => kind === "taken")) this.#executions.endPath(execution);
      this.#send(frame, routes);
    }
    if (!isEvent(node)) this.#withdrawOthers(execution);
  }

  #fail(execution: Execution, error: NodeError, attempts: number): void {
    const { frame } = execution;
    const place = this.#executions.placeOf(execution, { output: null, error: { ...error } });
    const result = this.#executions.end(execution, { status: "FAILED", error, attempts });
    if (this.#compensating) return;
    const routes = routesOfFailed(place, error);
    this.#send(frame, routes);
    if ([...routes.values()].some(({ kind }) => kind === "taken")) return;
    const item = enclosing(frame, "map");
    if (item !== undefined) item.failed = true;
    else this.#unhandled.push(result);
  }

  #forestall(execution: Execution, by: string): NodeResult {
    this.#executions.moves += 1;
    const reason: Reason = { kind: "unless", node: by };
    const result = this.#executions.end(
      { ...execution, from: [] },
      { status: "SKIPPED", reason, attempts: 0 },
    );
    this.#send(execution.frame, routesOfSkipped(this.#structure.outgoing(execution.node.id), reason));
    this.#tidy();
    return result;
  }

  /** What came of that for which a node waits. */
  #await(execution: Execution, { error, child }: Told): Outcome {
    const { key, node } = execution;
    switch (node.type) {
      case "map":
        return this.#resultOfMap(node, execution);
      case "subworkflow":
        if (child === undefined) return failure(null);
        return child.status === "COMPLETED" ? child : failure(`CHILD_${child.status}`);
      case "signal":
      case "approval": {
        const mayBeLate = node.deadline_ms !== undefined && error?.code === "SIGNAL_TIMED_OUT";
        const presumed = mayBeLate || this.#line.knows(key) ? undefined : presumedAnswer(node);
        const { payload, by, at } = this.#line.use(key) ?? presumed ?? {};
        if (payload === undefined) return failure("SIGNAL_TIMED_OUT");
        return {
          output:
            node.type === "signal" ? payload : { ...(payload as JsonObject), by: by ?? null, at: at ?? null },
        };
      }
      default:
        throw new Error(`${key} waits for nothing`);
    }
  }

  // Maps

  #open(execution: Execution, node: SimulatedNode & SimulatedMap): void {
    const list = this.#itemsOf(execution, node);
    if ("failure" in list) return;
    const body = this.#structure.bodies.find((of) => of.node === node);
    if (body?.kind !== "map") throw new Error(`${node.id} has no body`);
    execution.items = new Items(body, list.items, this.#input);
    this.#beginItems(execution.frame, execution.items);
  }

  #itemsOf(execution: Execution, { items }: SimulatedMap): { items: Json[] } | { failure: Failure } {
    const found = attempt(() => ({ value: evaluate(items, this.#executions.placeOf(execution).bindings) }));
    if (found === null) return failure(null);
    return Array.isArray(found.value) ? { items: found.value } : failure("MAP_NOT_A_LIST");
  }

  #beginItems(parent: Frame, items: Items): void {
    for (let next = items.next(); this.#halted === null && next !== undefined; next = items.next()) {
      const frame = this.#scopes.frame(items.body, parent, next.index, next.value);
      items.begun.push(frame);
      for (const id of this.#structure.entries(items.body)) this.#enter(id, frame, next.value);
    }
  }

  #itemOver(frame: Frame): void {
    const { body, parent } = frame;
    const items = this.#executions.active.get(keyOf(body!.node.id, parent!.scope))?.items;
    if (items === undefined) return;
    items.end(frame);
    this.#beginItems(parent!, items);
  }

  /** After a signal or a look: what is under way ends if the map does, else it goes on. */
  #goOnWithMap(execution: Execution, items: Items): void {
    const { key, node, frame } = execution;
    if (items.isComplete()) this.#withdrawals.recallItems(execution, node.id);
    else this.#beginItems(frame, items);
    const name = signalNameOf(node);
    if (name !== undefined && items.takesSignals()) this.#line.stand({ key, name, scope: frame.scope });
    this.#tidy();
  }

  #resultOfMap(node: SimulatedNode & SimulatedMap, execution: Execution): Outcome {
    const { items } = execution;
    if (items === undefined) {
      const list = this.#itemsOf(execution, node);
      return "failure" in list ? list : failure(null);
    }
    if (items.lookFails()) return failure(null);
    if (items.hasFailed()) return failure("MAP_FAILED");
    return { output: items.results((item) => this.#executions.outputIn(item)) };
  }

  // Withdrawal, and what comes when nothing is outstanding

  #withdrawOthers(execution: Execution): void {
    if (this.#halted !== null) return;
    this.#withdrawals.setOff(execution);
    if (isEvent(execution.node)) this.#performWithdrawals();
  }

  #performWithdrawals(): void {
    this.#withdrawals.perform((from, routes) => this.#send(from, routes));
  }

  #tidy(): void {
    const isIdle = (frame: Frame): boolean => this.#executions.activeIn(frame).length === 0;
    for (let next: Frame | undefined; ; this.#turn(next)) {
      this.#performWithdrawals();
      next = this.#scopes.all.findLast((frame) => frame.onceIdle !== undefined && isIdle(frame));
      if (next === undefined) break;
    }
    if (this.#executions.active.size === 0 && this.#verdict() !== "COMPLETED") this.#undoNext();
  }

  /** Nothing is outstanding in a scope. */
  #turn(frame: Frame): void {
    const { onceIdle, body, parent, index, scope } = frame;
    frame.onceIdle = undefined;
    if (onceIdle === "item over") this.#itemOver(frame);
    if (this.#halted !== null || body?.kind !== "loop") return;
    const { id, loop_back_to } = body.node;
    const { output } = this.#executions.over.get(keyOf(id, scope))!;
    this.#enter(loop_back_to, this.#scopes.frame(body, parent, index + 1), output, [id]);
  }

  #undoNext(): void {
    const [node, frame] = this.#undoable.pop() ?? [];
    if (node === undefined || frame === undefined) return;
    this.#compensating = true;
    const data = this.#executions.over.get(keyOf(node.id, frame.scope))!.output;
    const { retry } = node;
    const undoing = { id: compensationOf(node.id), type: "function", ...(retry && { retry }) } as const;
    this.#activate(undoing, frame, { data, from: [node.id], predecessors: [node.id] });
  }
}

function isReady({ items }: Execution): boolean {
  return items === undefined || items.isReady();
}

/** The answer to a signal of which no game was told. */
function presumedAnswer({ answer }: { answer: Json }): Partial<Signal> {
  return answer === null ? {} : { payload: answer, by: ANSWERED_BY };
}

function isEvent({ type }: SimulatedNode): boolean {
  return type === "wait" || type === "signal" || type === "approval";
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
