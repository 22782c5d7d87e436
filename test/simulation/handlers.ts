/** The handler module for simulated workflows: its one export does what its node's params say. */
import type { Json } from "./expression.ts";
import { hostileNamed } from "./hostile.ts";
import { type Behaviour, behave } from "./model.ts";

interface Context {
  data: unknown;
  params?: unknown;
  attempt: number;
  signal: AbortSignal;
}

/** Answers by `params.behaviour`; a failure is thrown as an Error that carries `code`, one for good by the name it goes by. */
export async function simulated({ data, params, attempt, signal }: Context): Promise<unknown> {
  const { behaviour } = params as { behaviour: Behaviour };
  if (behaviour.kind === "hostile") return hostileNamed(behaviour.what).perform();
  const answer = behave(behaviour, data as Json, attempt);
  if ("output" in answer) return answer.output;
  if ("hangs" in answer) return untilAborted(signal);
  const { code, message } = answer.error;
  throw Object.assign(new Error(message ?? undefined), {
    code,
    ...(answer.forGood ? { name: "NonRetryableError" } : {}),
  });
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
