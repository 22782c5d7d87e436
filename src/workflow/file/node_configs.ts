/** The `config` of each node type. */
import { z } from "zod";
import { LIMITS } from "../limits.ts";
import { DEFAULTS } from "./defaults.ts";
import { HttpConfig } from "./http_config.ts";
import { isTime, timeOf } from "./time_text.ts";

/** What a queue may be called, in up to `LIMITS.idLength` characters. */
export const QUEUE_NAME = /^[a-zA-Z0-9_.-]+$/;

const RESERVED_IDS: ReadonlySet<string> = new Set(["__proto__", "prototype", "constructor"]);

export const NodeId = z
  .string()
  .max(LIMITS.idLength)
  .regex(/^[a-zA-Z0-9_-]+$/)
  .refine((id) => !RESERVED_IDS.has(id), { params: { code: "RESERVED_ID" }, error: "this id is reserved" });

export const Cel = z.string().min(1).max(LIMITS.expressionLength);
const ShortText = z.string().min(1).max(LIMITS.idLength);
const Text = z.string().min(1).max(LIMITS.expressionLength);
const Milliseconds = z.int().min(1).max(LIMITS.timeoutMs);
const Version = z.union([z.int().min(1), ShortText]);
/** A number that hitzero gave, also as text. */
const VERSIONS = { error: `versions are whole numbers from 1 to ${LIMITS.version}` };
const RegisteredVersion = z.union(
  [
    z.int(VERSIONS).min(1, VERSIONS).max(LIMITS.version, VERSIONS),
    z
      .string()
      .regex(/^[1-9]\d{0,9}$/, VERSIONS)
      .refine((text) => Number(text) <= LIMITS.version, VERSIONS),
  ],
  VERSIONS,
);
const AnyObject = z.record(z.string(), z.unknown());

const FUNCTION = {
  function_name: ShortText.describe("Export of the worker's handler module to run."),
  params: AnyObject.default({}).describe("Handed to the function as `params`."),
};

// What a handler is called with is open: it is given the whole config. Others ignore what they do not know, with a warning
// (`ignored_properties.ts`).
const FunctionConfig = z.looseObject(FUNCTION);

/** Of nodes that leave something to undo. */
export const CompensateWith = z.strictObject(FUNCTION);

const TransformConfig = z
  .looseObject({
    expression: Cel.optional().describe(
      "CEL whose value is the node's output; sees data, input, vars, nodes. Either this, or a function by name.",
    ),
    function_name: ShortText.optional().describe("Export of the worker's handler module to run instead."),
    transformation: ShortText.optional().describe("The same, where there is no function_name."),
    params: AnyObject.optional().describe("Handed to the function as `params`."),
  })
  .superRefine((config, context) => {
    if (config.expression ?? config.function_name ?? config.transformation) return;
    // The message is that of a property that is missing.
    context.addIssue({ code: "invalid_type", expected: "string", path: ["expression"], input: undefined });
  });

const FilterConfig = z.object({
  filter_expression: Cel.describe(
    "CEL asked for each item of the list `data`: true keeps it. Sees item (or value), index, data, input, vars, nodes.",
  ),
});

const AggregateConfig = z
  .object({
    operation: z
      .enum(["sum", "avg", "min", "max", "count"])
      .optional()
      .describe("What to compute over the values. Either this or `strategy`."),
    field: Text.optional().describe(
      "Dotted path of the number in each value; absent: the values are numbers.",
    ),
    strategy: z
      .enum(["merge", "union", "concat", "coalesce"])
      .optional()
      .describe(
        "How to join the values: merge objects, unite distinct values, concatenate lists, or take the first output that came.",
      ),
  })
  .refine((config) => (config.operation === undefined) !== (config.strategy === undefined), {
    error: "exactly one of operation and strategy must be given",
  })
  .refine((config) => config.field === undefined || config.strategy === undefined, {
    error: "field belongs to operation, not to strategy",
    path: ["field"],
  });

const ConditionalConfig = z.object({
  mode: z
    .enum(["first", "all"])
    .default(DEFAULTS.conditionalMode)
    .describe("Take the first matching edge, or every matching one."),
  evaluation_field: z.unknown().optional().describe("A hint for people: the edges' conditions decide."),
  validation_rules: z.unknown().optional().describe("A hint for people: the edges' conditions decide."),
});

const Targets = z.union([NodeId, z.array(NodeId).max(LIMITS.loopTargets)]);

const LoopConfig = z.looseObject({
  loop_back_to: NodeId.describe("Entry node of the loop's body."),
  max_iterations: z
    .int()
    .min(1)
    .optional()
    .describe("Iterations after which the loop ends by `timeout_path`; absent: no limit."),
  condition: Cel.optional().describe(
    "CEL: true means once more; absent: true. Sees data, output, input, vars, nodes, loop.",
  ),
  break_path: Targets.optional().describe(
    "Node, or list of nodes, to go to when the condition is false; absent: the ordinary edges.",
  ),
  timeout_path: Targets.optional().describe(
    "Node, or list of nodes, to go to when max_iterations is reached; absent: the loop fails.",
  ),
  function_name: ShortText.optional().describe(
    "Export of the handler module that the loop node runs itself.",
  ),
  params: AnyObject.default({}).describe("Handed to the function as `params`."),
});

const MapConfig = z
  .object({
    items: Cel.describe("CEL giving the list whose items are worked on; sees data, input, vars, nodes."),
    body: z
      .strictObject({
        nodes: z.array(z.unknown()).min(1).describe("Nodes of the body."),
        edges: z.array(z.unknown()).default([]).describe("Edges of the body."),
      })
      .optional()
      .describe("Graph run for each item, which is its entry nodes' data. Either this or `workflow`."),
    workflow: ShortText.optional().describe("Name of the workflow run for each item, which is its input."),
    version: RegisteredVersion.optional().describe("Version of `workflow`; absent: the active one."),
    max_concurrency: z
      .int()
      .min(1)
      .max(LIMITS.mapConcurrency)
      .default(DEFAULTS.mapConcurrency)
      .describe("Items worked on at once."),
    tolerated_failures: z
      .int()
      .min(0)
      .default(DEFAULTS.toleratedFailures)
      .describe("Items that may fail without failing the node."),
    complete_when: Cel.optional().describe(
      "CEL asked after each item: true ends the map early. Sees completed, failed, total, input, vars.",
    ),
    open: z
      .boolean()
      .optional()
      .describe("Items may be added while it runs, by signals called `name`, until one of them closes it."),
    name: ShortText.optional().describe(
      "Name of the signals of an open map; payload {items: [...], close: true, complete: true}.",
    ),
  })
  .refine((config) => (config.body === undefined) !== (config.workflow === undefined), {
    error: "exactly one of body and workflow must be given",
  })
  .refine((config) => (config.open === true) === (config.name !== undefined), {
    error: "open and name belong together",
    path: ["name"],
  })
  .refine((config) => config.version === undefined || config.workflow !== undefined, {
    error: "version belongs to workflow, not to body",
    path: ["version"],
  });

export type LoopConfig = z.output<typeof LoopConfig>;
export type MapConfig = z.output<typeof MapConfig>;

const SubworkflowConfig = z.object({
  workflow: ShortText.describe("Name of the workflow to run."),
  version: RegisteredVersion.optional().describe("Its version; absent: the active one."),
  input: z
    .unknown()
    .optional()
    .describe(
      "Input of the child run: JSON whose strings may hold templates {{ CEL }}; one that is a single template keeps the type of its value. Absent: the node's data.",
    ),
});

const WaitConfig = z
  .object({
    duration_ms: z
      .int()
      .min(0)
      .max(LIMITS.waitMs)
      .optional()
      .describe("Milliseconds to wait. Either this or `until`."),
    until: Text.refine((text) => !isTime(text) || timeOf(text) !== undefined, {
      error: "there is no such time",
    })
      .optional()
      .describe("Time to wait for: RFC 3339 text, or CEL giving a timestamp or such text."),
  })
  .refine((config) => (config.duration_ms === undefined) !== (config.until === undefined), {
    error: "exactly one of duration_ms and until must be given",
  });

const SignalConfig = z.object({
  name: ShortText.describe("Name of the signal that the node waits for."),
  assignees: z.array(ShortText).default([]).describe("Who may answer; empty: anyone."),
  timeout_ms: Milliseconds.optional().describe(
    "Milliseconds after which the node fails; absent: it waits on.",
  ),
  schema: z.union([AnyObject, z.boolean()]).optional().describe("JSON Schema of the signal's payload."),
  transient: z
    .boolean()
    .default(false)
    .describe("A signal that finds nobody waiting is dropped, not kept for the next who waits."),
});

const DeployConfig = z.object({
  target_type: z.literal("model").describe("What is deployed."),
  model_id: ShortText.describe("The model."),
  version: Version.describe("Version of the model."),
  environment: ShortText.describe("Where to."),
  strategy: z.enum(["rolling", "canary", "blue_green"]).default("rolling").describe("How to roll out."),
  health_check: AnyObject.optional().describe("How to tell that the new version is healthy."),
});

const RollbackConfig = z.object({
  target_type: z.literal("workflow").describe("What is rolled back."),
  workflow_id: ShortText.describe("Name of the workflow."),
  version: Version.optional().describe("Version to go back to; absent: the one before."),
  reason: Text.optional().describe("Kept in the rollback history."),
});

/** By node type. A type absent here is unknown. */
export const NODE_CONFIGS = {
  function: FunctionConfig,
  http: HttpConfig,
  transform: TransformConfig,
  filter: FilterConfig,
  aggregate: AggregateConfig,
  conditional: ConditionalConfig.prefault({}),
  loop: LoopConfig,
  parallel: z.object({}).default({}),
  map: MapConfig,
  subworkflow: SubworkflowConfig,
  wait: WaitConfig,
  approval: SignalConfig,
  signal: SignalConfig,
  deploy: DeployConfig,
  rollback: RollbackConfig,
} as const;

export type FileNodeType = keyof typeof NODE_CONFIGS;
