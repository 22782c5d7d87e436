/**
 * Every limit of the workflow layer. A limit that is hit is reported with its name; none can be raised by a setting, as each
 * protects a promise (cost per step, size of a script's reply, time to compile) that all runs on a server share.
 */
export const LIMITS = {
  /** Characters of a workflow file in JSON. */
  jsonTextLength: 32 * 1024 * 1024,
  /** Characters of a workflow file in YAML, whose parser is some fifty times slower. */
  yamlTextLength: 4 * 1024 * 1024,
  /** Times that YAML aliases may be expanded (a "billion laughs" file expands billions). */
  yamlAliases: 100,
  /** Nesting of a document. */
  documentDepth: 64,
  nodes: 20_000,
  edges: 100_000,
  /** Bodies of loops and maps within each other; a scope names them all. */
  bodyDepth: 16,
  /** Items of one map worked on at once. */
  mapConcurrency: 1_000,
  /** Executions that all nodes of a workflow withdraw by `cancels` and `cancel_rest`, together. */
  withdrawals: 200_000,
  /** Semaphores that one node holds: they are taken in one step. */
  semaphoresHeld: 16,
  /** Permits of one semaphore. */
  permits: 1_000_000,
  /** Tags in a workflow's metadata. */
  tags: 100,
  /** Nodes that a loop's `break_path` or `timeout_path` names. */
  loopTargets: 100,
  idLength: 128,
  /** The highest version of a workflow that Postgres can count. */
  version: 2_147_483_647,
  nameLength: 128,
  /** Characters of one CEL expression. */
  expressionLength: 4096,
  /** Bytes of `vars` as JSON: they are loaded by every step that names them. */
  varsBytes: 64 * 1024,
  /** Bytes of one node's `config` as JSON. */
  configBytes: 256 * 1024,
  /** Longest timer of JavaScript, in milliseconds (24.8 days). */
  timeoutMs: 2_147_483_647,
  /** Longest `wait`, in milliseconds (100 years). */
  waitMs: 3_155_760_000_000,
  maxAttempts: 1_000,
  /** Faults reported at once; the rest is counted. */
  faults: 100,

  /** Nodes of an expression's syntax tree. */
  expressionNodes: 500,
  /** Nesting of an expression. */
  expressionDepth: 50,
  /**
   * Work of all expressions of one step together, in units of about one syntax-tree node evaluated or eight characters touched: a second at the
   * very most. Counted, not timed, so that an expression ends alike on every machine.
   */
  expressionWork: 5_000_000,
  /** Bytes (about) of an expression's result. */
  expressionResultBytes: 16 * 1024 * 1024,
  /** Nesting of an expression's result. */
  expressionResultDepth: 256,
  /** Characters of a regular expression, and instructions of its compiled form. */
  patternLength: 1_000,
  patternInstructions: 5_000,
} as const;
