/**
 * CEL: the one module that imports the CEL library. Compiles an expression for its place (syntax, types, which variables and
 * nodes it names) and evaluates it on JSON.
 *
 * Numbers of JSON are doubles, as in CEL's own mapping of JSON; they mix freely with the ints of the source (see
 * `cel_functions.ts`), so the context is used as it is: nothing is converted or walked before an evaluation. A field that is
 * missing is an error, never false. Nothing of JavaScript can be reached, and the work of one evaluation is bounded.
 */
import { type ASTNode, Environment, type ParseResult } from "@marcbachmann/cel-js";
import { Duration, UnsignedInt } from "@marcbachmann/cel-js/evaluator";
import { type Fault, HitzeroError, InvalidInputError } from "../../base/errors.ts";
import { LIMITS } from "../limits.ts";
import { compileReason, evaluationReason } from "./errors.ts";
import {
  BOOL_KINDS,
  type ExpressionKind,
  type ExpressionPlace,
  lineAndColumn,
  VARIABLES,
} from "./expression_place.ts";
import { CelFault } from "./fault.ts";
import { compilePattern, extend, type Registrar } from "./functions.ts";
import { guard, prepare, readable } from "./guard.ts";
import { findReferences, type Misuse, type References } from "./references.ts";
import { toJson } from "./result.ts";
import { type AstNode, callOf, childrenOf, stringLiteral } from "./syntax.ts";
import { spellLoop, unspellLoop } from "./text.ts";
import { WorkBudget } from "./work.ts";

export type { ExpressionKind } from "./expression_place.ts";

/** A compiled expression. Stateless: it may be kept and used for any number of contexts. */
export interface Expression {
  readonly source: string;
  readonly place: ExpressionPlace;
  readonly references: References;
  /**
   * Evaluates on `context`, which holds every variable of the place's kind by name, as JSON.
   * @param budget shared by all expressions of a step; absent: one of its own
   * @returns plain JSON (see `toJson`); for conditions and filters always a boolean.
   * @throws HitzeroError EXPRESSION_FAILED naming place, position and reason, never values of the context.
   */
  evaluate(context: Record<string, unknown>, budget?: WorkBudget): unknown;
}

/** What is wrong with an expression; `path` of a Fault is the caller's to know. */
export type ExpressionProblem = Omit<Fault, "path">;

export type Examination =
  | {
      ok: true;
      references: References;
      /** The value of a condition that names no variable; absent if it has none. */
      constant?: boolean;
    }
  | { ok: false; problems: ExpressionProblem[] };

const TYPES = {
  isDuration: (value: object): value is Duration => value instanceof Duration,
  isUnsigned: (value: object): value is UnsignedInt => value instanceof UnsignedInt,
};

/**
 * Compiles an expression.
 * @throws InvalidInputError with the faults of `examineExpression`, their path being the place's label.
 */
export function compileExpression(source: string, place: ExpressionPlace): Expression {
  const examined = parseAndCheck(source, place.kind);
  if (!examined.ok) {
    throw new InvalidInputError(
      place.label,
      examined.problems.map((problem) => ({ ...problem, path: place.label })),
    );
  }
  guard(asNode(examined.run.ast));
  return { source, place, references: examined.references, evaluate: evaluator(source, place, examined) };
}

/**
 * Parses and type-checks an expression and finds what it names. Problems are values: EXPRESSION_SYNTAX, EXPRESSION_TYPE,
 * EXPRESSION_UNKNOWN_VARIABLE, EXPRESSION_PATTERN, EXPRESSION_NOT_BOOL, EXPRESSION_TOO_COMPLEX, NODE_REFERENCE_FORM,
 * SECRET_REFERENCE_FORM.
 * @param budget for the values of constants, shared by all expressions of a workflow
 */
export function examineExpression(
  source: string,
  kind: ExpressionKind,
  budget = new WorkBudget(),
): Examination {
  const parsed = parseAndCheck(source, kind);
  if (!parsed.ok) return parsed;
  const { references } = parsed;
  if (!BOOL_KINDS.has(kind) || references.variables.length > 0) return { ok: true, references };
  return { ok: true, references, ...constantOf(source, kind, budget) };
}

function constantOf(source: string, kind: ExpressionKind, budget: WorkBudget): { constant?: boolean } {
  if (budget.unspent < 0) return {};
  try {
    return { constant: compileExpression(source, { kind, label: "constant" }).evaluate({}, budget) === true };
  } catch {
    return {};
  }
}

type Parsed =
  | { ok: true; references: References; run: ParseResult }
  | { ok: false; problems: ExpressionProblem[] };

function parseAndCheck(source: string, kind: ExpressionKind): Parsed {
  if (source.length > LIMITS.expressionLength) return tooLong();
  let run: ParseResult;
  try {
    run = environmentOf(kind).parse(spellLoop(source));
    prepare(asNode(run.ast));
    checkPatterns(asNode(run.ast));
  } catch (error) {
    return { ok: false, problems: [describe(error, source, kind)] };
  }
  const { references, misused } = findReferences(asNode(run.ast), VARIABLES[kind], unspellLoop);
  if (misused.length > 0)
    return { ok: false, problems: misused.map((misuse) => badReference(source, misuse)) };
  const checked = run.check();
  if (!checked.valid) return { ok: false, problems: [describe(checked.error, source, kind)] };
  if (BOOL_KINDS.has(kind) && checked.type !== "bool" && !checked.type?.startsWith("dyn")) {
    return { ok: false, problems: [notBool(checked.type ?? "unknown")] };
  }
  return { ok: true, references, run };
}

function evaluator(
  source: string,
  place: ExpressionPlace,
  { run, references }: Parsed & { ok: true },
): Expression["evaluate"] {
  const needsBool = BOOL_KINDS.has(place.kind);
  return (context, budget = new WorkBudget()) => {
    try {
      return budget.use(() => {
        const value: unknown = run(readableContext(context, references.variables));
        if (needsBool && typeof value !== "boolean")
          throw new CelFault("its value is not a bool (true or false)");
        return toJson(value, TYPES);
      });
    } catch (error) {
      const { reason, position } = evaluationReason(error);
      const where = position === undefined ? "" : ` (${lineAndColumn(source, position)})`;
      const also = error instanceof CelFault && error.also !== "" ? `; ${error.also}` : "";
      throw new HitzeroError("EXPRESSION_FAILED", `${place.label}: ${reason}${where}${also}`, {
        hint: "Test for a field that may be missing with has(); see docs/errors.md.",
        exitCode: 1,
      });
    }
  };
}

/** The context itself, unless a variable must be read otherwise (see `readable`) or is spelled otherwise. */
function readableContext(
  context: Record<string, unknown>,
  variables: readonly string[],
): Record<string, unknown> {
  const isReadable = (name: string) => name !== "loop" && readable(context[name]) === context[name];
  if (variables.every(isReadable)) return context;
  return Object.fromEntries(variables.map((name) => [spellLoop(name), readable(context[name])]));
}

const environments = new Map<ExpressionKind, Environment>();

function environmentOf(kind: ExpressionKind): Environment {
  const known = environments.get(kind);
  if (known !== undefined) return known;
  const environment = new Environment({
    homogeneousAggregateLiterals: false,
    limits: {
      maxAstNodes: LIMITS.expressionNodes,
      maxDepth: LIMITS.expressionDepth,
      maxListElements: LIMITS.expressionNodes,
      maxMapEntries: LIMITS.expressionNodes,
    },
  });
  for (const name of VARIABLES[kind]) environment.registerVariable(spellLoop(name), "dyn");
  extend(environment as unknown as Registrar);
  environments.set(kind, environment);
  return environment;
}

/** The library's public type of a node leaves out what `cel_syntax.ts` needs besides. */
function asNode(node: ASTNode): AstNode {
  return node as unknown as AstNode;
}

/** A pattern that is written out is compiled now, so that a bad one is a fault of the workflow, not of a run. */
function checkPatterns(node: AstNode): void {
  const call = callOf(node);
  if (call?.method === "matchesLinear") {
    const patternNode = call.parameters[call.parameters.length - 1];
    const pattern = patternNode === undefined ? undefined : stringLiteral(patternNode);
    if (patternNode !== undefined && pattern !== undefined) {
      try {
        compilePattern(pattern);
      } catch (error) {
        throw error instanceof CelFault ? new CelFault(error.message, patternNode.start) : error;
      }
    }
  }
  for (const child of childrenOf(node)) checkPatterns(child);
}

function describe(error: unknown, source: string, kind: ExpressionKind): ExpressionProblem {
  const { reason, position, code } = compileReason(error);
  const where = position === undefined ? "" : ` (${lineAndColumn(source, position)})`;
  const message = unspellLoop(reason) + where;
  if (error instanceof CelFault)
    return { code: "EXPRESSION_PATTERN", message, hint: "See https://github.com/google/re2/wiki/Syntax." };
  if (code === "limit_exceeded") return tooComplex(message);
  if (code === "unknown_variable") {
    const hint = `Here an expression may name ${VARIABLES[kind].join(", ")}.`;
    return { code: "EXPRESSION_UNKNOWN_VARIABLE", message, hint };
  }
  if (error instanceof Error && error.name === "ParseError") {
    return {
      code: "EXPRESSION_SYNTAX",
      message,
      hint: "Correct the expression; it is CEL (https://cel.dev).",
    };
  }
  return { code: "EXPRESSION_TYPE", message, hint: typeHint(code) };
}

function typeHint(code: string): string {
  if (code === "incompatible_ternary_branches")
    return 'Wrap one branch, as in: condition ? dyn(null) : "text".';
  if (code === "") return "Wrap the part whose type is in question in dyn().";
  return "Convert with string(), int() or double(), or wrap a part in dyn() if its type is known only at run time.";
}

function tooLong(): Parsed {
  return { ok: false, problems: [tooComplex(`it is longer than ${LIMITS.expressionLength} characters`)] };
}

function tooComplex(message: string): ExpressionProblem {
  const { expressionLength, expressionNodes, expressionDepth } = LIMITS;
  return {
    code: "EXPRESSION_TOO_COMPLEX",
    message,
    hint: `An expression has at most ${expressionLength} characters, ${expressionNodes} parts and ${expressionDepth} levels, so that each step stays cheap; move the rest into a function.`,
  };
}

function notBool(type: string): ExpressionProblem {
  return {
    code: "EXPRESSION_NOT_BOOL",
    message: `its value is of type ${type}, not bool`,
    hint: "Compare the value with something, as in: output.score >= 80.",
  };
}

function badReference(source: string, { variable, position }: Misuse): ExpressionProblem {
  const where = lineAndColumn(source, position);
  if (variable === "secrets") {
    return {
      code: "SECRET_REFERENCE_FORM",
      message: `secrets is used in another form than secrets.NAME (${where})`,
      hint: "Name each secret literally, so that data cannot choose which one is sent.",
    };
  }
  return {
    code: "NODE_REFERENCE_FORM",
    message: `nodes is used in another form than nodes["id"].output (${where})`,
    hint: "Name each node by a literal id, so that what a step needs is known before it runs.",
  };
}
