/** The items of a map: stored in parts when it begins, read by the executions of its body, gathered as results when it ends. */

import { HitzeroError } from "../../base/errors.ts";
import { encodeJson } from "../../base/json.ts";
import { budgetOf, variablesOf } from "../../handlers/execution.ts";
import type { Execution } from "../../handlers/types.ts";
import { FIELD, fieldOf, itemsTotal, resultField } from "../../redis/run_state.ts";
import { ITEM, OUTPUT } from "../../token/letters.ts";
import type { IR, IRBody } from "../../workflow/ir/ir.ts";
import { programsOf } from "../../workflow/ir/programs.ts";
import { itemIndexOf } from "../../workflow/ir/scopes.ts";
import { type Limits, MAX_JSON_DEPTH, MAX_MAP_ITEMS, MAX_OUTPUT_BYTES } from "../limits.ts";
import type { WaitingServices } from "./waiting.ts";

const PARTS_KEPT = 64;

const partName = (map: number, scope: string, part: number) =>
  `i${map}${scope === "" ? "" : `@${scope}`}.${part}`;

export interface ItemParts {
  /** Items in them, those that were there before not counted. */
  added: number;
  blobs: { name: string; value: string }[];
}

/** Evaluates the list. @throws HitzeroError MAP_NOT_A_LIST, MAP_TOO_LARGE */
export function firstItems(execution: Execution, { items: part }: Pick<Limits, "items">): ItemParts {
  const items = programsOf(execution.ir)
    .items(execution.nodeIndex)
    ?.evaluate(variablesOf(execution), budgetOf(execution));
  if (!Array.isArray(items)) {
    throw new HitzeroError("MAP_NOT_A_LIST", `items of node ${execution.node.id} is not a list`, {
      hint: "Let the expression give a list, such as data.rows.",
    });
  }
  return splitItems(execution, part, items, 0);
}

/** Items that are added to an open map, behind those that it has. */
export async function moreItems(
  execution: Execution,
  items: readonly unknown[],
  services: WaitingServices,
): Promise<ItemParts> {
  const { runId, nodeIndex, scope } = execution;
  const [map] = await services.readFields(runId, [fieldOf(FIELD.map, nodeIndex, scope)]);
  const total = itemsTotal(map ?? null);
  const { items: part } = services.limits;
  const last = Math.floor(total / part);
  const known = total % part;
  const stored = known === 0 ? "[]" : await services.readBlob(runId, partName(nodeIndex, scope, last));
  // What is stored behind them is of a step that never came.
  const begun = (JSON.parse(stored) as unknown[]).slice(0, known);
  return splitItems(execution, part, [...begun, ...items], last * part, known);
}

/** Parts of a list that begins at item `from`; the first `known` of them were there before. */
function splitItems(
  execution: Execution,
  part: number,
  items: readonly unknown[],
  from: number,
  known = 0,
): ItemParts {
  const { node, nodeIndex, scope } = execution;
  if (from + items.length > MAX_MAP_ITEMS) {
    throw new HitzeroError(
      "MAP_TOO_LARGE",
      `node ${node.id} has ${from + items.length} items; the limit is ${MAX_MAP_ITEMS}`,
      { hint: "Split the list, and map over its parts." },
    );
  }
  const limits = {
    maxBytes: MAX_OUTPUT_BYTES,
    maxDepth: MAX_JSON_DEPTH,
    what: `the items of node ${node.id}`,
  };
  const blobs = [];
  for (let first = 0; first < items.length; first += part) {
    const value = encodeJson(items.slice(first, first + part), limits);
    blobs.push({ name: partName(nodeIndex, scope, (from + first) / part), value });
  }
  return { added: items.length - known, blobs };
}

/** Reads items, a part at a time; keeps the parts used last. */
export class ItemReader {
  readonly #itemsInPart: number;
  readonly #parts = new Map<string, Promise<unknown[]>>();

  constructor({ items }: Pick<Limits, "items">) {
    this.#itemsInPart = items;
  }

  /** The item of the innermost map around an execution; undefined: there is none. */
  async itemOf(
    held: { ir: IR; nodeIndex: number; scope: string; runId: string },
    readBlob: (name: string) => Promise<string>,
  ): Promise<unknown> {
    if (held.scope === "") return undefined;
    const place = itemIndexOf(held.ir, held.nodeIndex, held.scope);
    if (place === undefined) return undefined;
    const name = partName(place.map, place.scope, Math.floor(place.index / this.#itemsInPart));
    const key = `${held.runId}/${name}`;
    const known = (await this.#parts.get(key)) ?? [];
    const inPart = place.index % this.#itemsInPart;
    // Items may have been added to the last part since it was read.
    if (inPart >= known.length) this.#parts.delete(key);
    return (await this.#part(key, () => readBlob(name)))[inPart];
  }

  #part(key: string, read: () => Promise<string>): Promise<unknown[]> {
    const part = this.#parts.get(key) ?? read().then((text) => JSON.parse(text) as unknown[]);
    this.#parts.delete(key);
    this.#parts.set(key, part);
    part.catch(() => this.#parts.delete(key));
    if (this.#parts.size > PARTS_KEPT) this.#parts.delete(this.#parts.keys().next().value as string);
    return part;
  }
}

/** How the items ended, as the scripts tell it. */
export interface MapEnd {
  total: number;
  failed: number;
  /** First failed item, and its node. */
  first?: number;
  culprit?: number;
  /** It ended early: what is missing never was, or was withdrawn. */
  stopped?: boolean;
}

/** The list of results, as JSON text. @throws HitzeroError MAP_FAILED, OUTPUT_TOO_LARGE */
export async function gatherResults(
  execution: Execution,
  end: MapEnd,
  services: WaitingServices,
): Promise<string> {
  const { ir, node, nodeIndex, runId, scope } = execution;
  if (end.failed > (node.config.tolerated_failures as number)) {
    const where = `item ${end.first} at node ${ir.nodes[end.culprit as number]?.id}`;
    throw new HitzeroError(
      "MAP_FAILED",
      `${end.failed} of ${end.total} items of node ${node.id} failed, the first of them ${where}`,
      {
        hint: "Its executions tell why; tolerated_failures says how many may fail.",
      },
    );
  }
  const { terminals, ends } = ir.bodies[node.map_body as number] as IRBody;
  const endings = [...terminals, ...ends];
  const texts: string[] = [];
  let size = 2;
  const step = Math.max(1, Math.floor(services.limits.reads / endings.length));
  for (let first = 0; first < end.total; first += step) {
    const count = Math.min(step, end.total - first);
    const fields = Array.from({ length: count }, (_item, index) =>
      endings.map((ending) => resultField(nodeIndex, scope, first + index, ending)),
    ).flat();
    const stored = await services.readFields(runId, fields);
    const outputs = await Promise.all(stored.map((output) => readOutput(output, runId, services)));
    const marked = (mark: string) =>
      services.readFields(
        runId,
        Array.from({ length: count }, (_item, index) => resultField(nodeIndex, scope, first + index, mark)),
      );
    const failed = end.failed > 0 ? await marked(ITEM.failed) : [];
    const empty = end.stopped && terminals.length > 1 ? await marked(ITEM.empty) : [];
    for (let index = 0; index < count; index += 1) {
      const own = outputs.slice(index * endings.length, (index + 1) * endings.length);
      const isMissing = end.stopped === true && own.every((output) => output === null) && !empty[index];
      const text = failed[index] || isMissing ? "null" : resultText(ir, endings, own, terminals.length);
      size += text.length + 1;
      if (size > MAX_OUTPUT_BYTES) throw tooLarge(node.id);
      texts.push(text);
    }
  }
  return `[${texts.join(",")}]`;
}

async function readOutput(output: string | null, runId: string, services: WaitingServices) {
  if (output === null) return null;
  return output.startsWith(OUTPUT.blob) ? services.readBlob(runId, output.slice(1)) : output.slice(1);
}

/** What one node ended, where the graph has one terminal at most: its output; else an object of all that ended it, by id. */
function resultText(
  ir: IR,
  endings: readonly number[],
  outputs: readonly (string | null)[],
  terminals: number,
): string {
  const ended = endings.flatMap((ending, index) => {
    const output = outputs[index] ?? null;
    return output === null ? [] : [{ id: ir.nodes[ending]?.id, output }];
  });
  if (terminals <= 1 && ended.length <= 1) return ended[0]?.output ?? "null";
  return `{${ended.map(({ id, output }) => `${JSON.stringify(id)}:${output}`).join(",")}}`;
}

function tooLarge(nodeId: string): HitzeroError {
  return new HitzeroError(
    "OUTPUT_TOO_LARGE",
    `the results of node ${nodeId} take more than ${MAX_OUTPUT_BYTES} bytes`,
    {
      hint: "Let the items return references to their data.",
    },
  );
}
