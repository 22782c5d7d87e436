/** The workflow file: shape, types and ranges. What needs the whole graph is checked in `check.ts`. */
import { z } from "zod";
import { LIMITS } from "../limits.ts";
import { DEFAULTS } from "./defaults.ts";
import { Cel, CompensateWith, type FileNodeType, NODE_CONFIGS, NodeId, QUEUE_NAME } from "./node_configs.ts";

const Milliseconds = z.int().min(1).max(LIMITS.timeoutMs);

export const TRIGGER_RULES = [
  "none_failed_min_one_success",
  "all_success",
  "all_done",
  "one_success",
  "one_failed",
  "all_failed",
  "none_failed",
] as const;

const SemaphoreName = z
  .string()
  .max(LIMITS.idLength)
  .regex(/^[a-zA-Z0-9_.-]+$/)
  .refine((name) => name !== "__proto__", { error: "this name is reserved" });

const Retry = z.strictObject({
  max_attempts: z
    .int()
    .min(1)
    .max(LIMITS.maxAttempts)
    .default(DEFAULTS.maxAttempts)
    .describe("Tries in all, the first included."),
  backoff_ms: z
    .int()
    .min(0)
    .max(LIMITS.timeoutMs)
    .default(DEFAULTS.backoffMs)
    .describe("Milliseconds before the second try."),
  backoff_multiplier: z
    .number()
    .min(1)
    .max(100)
    .default(DEFAULTS.backoffMultiplier)
    .describe("Factor for each further try."),
  max_backoff_ms: z
    .int()
    .min(0)
    .max(LIMITS.timeoutMs)
    .default(DEFAULTS.maxBackoffMs)
    .describe("Longest back-off, in milliseconds."),
  jitter: z
    .boolean()
    .default(DEFAULTS.jitter)
    .describe("Spread the back-off at random, so that tries do not come together."),
});

/** What every node has, whatever its type. */
const NODE_BASE = {
  id: NodeId.describe("Unique within the workflow: letters, digits, _ and -."),
  timeout_ms: Milliseconds.default(DEFAULTS.nodeTimeoutMs).describe("Limit of one attempt, in milliseconds."),
  retry: Retry.optional().describe("What to do when an attempt fails; absent: one attempt (http: three)."),
  input: Cel.optional().describe(
    "CEL whose value replaces the node's data; sees data, input, vars, nodes. Absent: data is what the predecessors gave.",
  ),
  trigger_rule: z
    .union([z.enum(TRIGGER_RULES), z.strictObject({ quorum: z.int().min(1).describe("Successes needed.") })])
    .default(DEFAULTS.triggerRule)
    .describe("When a node with incoming edges runs."),
  queue: z
    .string()
    .max(LIMITS.idLength)
    .regex(QUEUE_NAME)
    .default(DEFAULTS.queue)
    .describe("Queue whose workers may run it."),
  priority: z.int().min(-1000).max(1000).default(DEFAULTS.priority).describe("Lower goes first."),
  cancels: z
    .array(z.union([z.literal("*"), NodeId]))
    .max(LIMITS.nodes)
    .default([])
    .describe(
      "Nodes of the same body whose executions are withdrawn when this one completes; * stands for all others.",
    ),
  cancel_rest: z
    .boolean()
    .default(false)
    .describe("With quorum or one_success: withdraw the branches that are not needed once the join fires."),
  holds: z
    .array(SemaphoreName)
    .max(LIMITS.semaphoresHeld)
    .default([])
    .describe("Semaphores of which one permit each is held while the node runs."),
  unless: z
    .array(NodeId)
    .max(LIMITS.nodes)
    .default([])
    .describe("Nodes of the same body: the node is skipped if one of them has completed before it begins."),
};

/** Names of the properties that stand at a node itself, beside its type and config. */
export const NODE_PROPERTIES: readonly string[] = [...Object.keys(NODE_BASE), "compensate_with"].filter(
  (name) => name !== "id",
);

/** What only nodes have that leave something to undo. */
const COMPENSATION = {
  compensate_with: CompensateWith.optional().describe(
    "What undoes a completed execution when the run fails or is cancelled; its data is the node's output.",
  ),
};

const TYPE_DESCRIPTIONS: Record<FileNodeType, string> = {
  function: "Runs an export of the worker's handler module.",
  http: "Calls an HTTP address.",
  transform: "Its output is the value of a CEL expression.",
  filter: "Keeps the items of a list for which a CEL expression is true.",
  aggregate: "Computes a number over values, or joins them.",
  conditional: "Hands on its data along the edges whose conditions hold.",
  loop: "Ends a loop's body and decides whether to go round once more.",
  parallel: "A named point from which several branches start.",
  map: "Runs a body for each item of a list.",
  subworkflow: "Runs another workflow.",
  wait: "Waits for a time.",
  approval: "Waits for a person's decision.",
  signal: "Waits for an event from outside.",
  deploy: "Deploys a model.",
  rollback: "Goes back to an earlier version of a workflow.",
};

function nodeSchema<T extends FileNodeType, More extends z.ZodRawShape>(type: T, more: More) {
  return z
    .strictObject({
      ...NODE_BASE,
      ...more,
      type: z.literal(type).describe("Node type."),
      config: NODE_CONFIGS[type].describe("Settings of this node type."),
    })
    .describe(TYPE_DESCRIPTIONS[type]);
}

/** By node type. */
export const NODE_SCHEMAS = {
  function: nodeSchema("function", COMPENSATION),
  http: nodeSchema("http", COMPENSATION),
  transform: nodeSchema("transform", {}),
  filter: nodeSchema("filter", {}),
  aggregate: nodeSchema("aggregate", {}),
  conditional: nodeSchema("conditional", {}),
  loop: nodeSchema("loop", {}),
  parallel: nodeSchema("parallel", {}),
  map: nodeSchema("map", {}),
  subworkflow: nodeSchema("subworkflow", COMPENSATION),
  wait: nodeSchema("wait", {}),
  approval: nodeSchema("approval", {}),
  signal: nodeSchema("signal", {}),
  deploy: nodeSchema("deploy", {}),
  rollback: nodeSchema("rollback", {}),
} as const;

/** A node of an unknown type: all but its type and config can still be checked. */
export const UnknownNodeSchema = z.strictObject({
  ...NODE_BASE,
  ...COMPENSATION,
  type: z.unknown().optional(),
  config: z.unknown().optional(),
});

export const EdgeSchema = z.strictObject({
  from: z.string().describe("Id of the node that it leaves."),
  to: z.string().describe("Id of the node that it enters."),
  condition: Cel.optional().describe(
    "CEL; the edge is taken if true. Sees output, data, input, vars, nodes; error on failure and always edges.",
  ),
  priority: z
    .int()
    .min(-1_000_000)
    .max(1_000_000)
    .default(DEFAULTS.priority)
    .describe("Order in which a node's edges are looked at, lowest first."),
  on: z
    .enum(["success", "failure", "always"])
    .default(DEFAULTS.edgeOn)
    .describe("Outcome of `from` for which the edge counts."),
});

const Metadata = z
  .looseObject({
    name: z.unknown().optional().describe("Name of the workflow, where the file has no top-level name."),
    description: z.string().optional().describe("What the workflow does."),
    version: z
      .union([z.string(), z.number()])
      .optional()
      .describe("The author's own version; hitzero counts its own."),
    tags: z
      .array(z.string().max(LIMITS.idLength))
      .max(LIMITS.tags)
      .optional()
      .describe("Words to find it by."),
  })
  .describe("For people; hitzero reads only its name. Further properties are welcome.");

export const WorkflowName = z
  .string()
  .min(1)
  .max(LIMITS.nameLength)
  // Printable, without @ and without blanks at its ends.
  .regex(/^[!-?A-~\u00a1-\uffff](?:[ -?A-~\u00a0-\uffff]*[!-?A-~\u00a1-\uffff])?$/)
  .describe(
    "Name of the workflow; no @, which marks a version on the command line. Absent: metadata.name, else the file's.",
  );

/** The workflow file without its graph. */
export const HeaderSchema = z.strictObject({
  $schema: z.string().optional().describe("Address of this JSON Schema, for editors."),
  name: WorkflowName,
  description: z.string().optional().describe("What the workflow does."),
  metadata: Metadata.optional(),
  input_schema: z
    .union([z.record(z.string(), z.unknown()), z.boolean()])
    .optional()
    .describe("JSON Schema of a run's input."),
  output: Cel.optional().describe(
    "CEL for the run's output; sees input, vars, nodes. Absent: the outputs of the terminal nodes.",
  ),
  vars: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("Constants that expressions see as `vars` and handlers as `vars`."),
  timeout_ms: z
    .int()
    .min(0)
    .max(LIMITS.timeoutMs)
    .default(DEFAULTS.runTimeoutMs)
    .describe("Limit of the whole run in milliseconds; 0: none."),
  max_parallel_nodes: z
    .int()
    .min(0)
    .default(DEFAULTS.maxParallelNodes)
    .describe("Nodes of one run that hold a worker at once; 0: no limit."),
  fail_fast: z
    .boolean()
    .default(DEFAULTS.failFast)
    .describe("Cancel the other branches at the first unhandled failure."),
  semaphores: z
    .record(SemaphoreName, z.int().min(1).max(LIMITS.permits))
    .default({})
    .describe("Permits of each semaphore by name: so many executions of a run that hold it run at once."),
});

/** The whole file; used for the published JSON Schema and for hints. */
export const WorkflowSchema = HeaderSchema.extend({
  name: WorkflowName.optional(),
  nodes: z
    .array(
      z.discriminatedUnion(
        "type",
        Object.values(NODE_SCHEMAS) as [
          (typeof NODE_SCHEMAS)["function"],
          ...(typeof NODE_SCHEMAS)["function"][],
        ],
      ),
    )
    .min(1)
    .max(LIMITS.nodes)
    .describe("The steps."),
  edges: z
    .array(EdgeSchema)
    .max(LIMITS.edges)
    .default([])
    .describe("What follows what; without edges every node starts at once."),
}).describe("A hitzero workflow.");

export type Header = z.output<typeof HeaderSchema>;
export type FileNode = z.output<(typeof NODE_SCHEMAS)[FileNodeType]>;
export type FileEdge = z.output<typeof EdgeSchema>;

/** What undoes a node, if anything. */
export function compensationOf(node: FileNode): z.output<typeof CompensateWith> | undefined {
  return "compensate_with" in node ? node.compensate_with : undefined;
}
