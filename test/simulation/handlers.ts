/** The handler module for simulated workflows: its one export does what its node's params say. */
import type { Json } from "./expression.ts";
import { type Behaviour, behave } from "./model.ts";

/** Answers by `params.behaviour`; a failure is thrown as an Error that carries `code`. */
export async function simulated(context: { data: unknown; params?: unknown }): Promise<Json> {
  const { behaviour } = context.params as { behaviour: Behaviour };
  const answer = behave(behaviour, context.data as Json);
  if ("output" in answer) return answer.output;
  throw Object.assign(new Error(answer.error.message), { code: answer.error.code });
}
