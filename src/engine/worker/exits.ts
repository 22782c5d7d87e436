/** Names the handler that ends its process: for processes that are hitzero's own. */
import { executionOf } from "./escapes.ts";

/** Has every later call of `process.exit` from within an execution told first, in words. */
export function nameExits(tell: (text: string) => void): void {
  const exit = process.exit;
  process.exit = (...args) => {
    const [code] = args;
    const execution = executionOf();
    if (execution !== undefined) tell(`${execution} called process.exit(${code ?? ""})`);
    // Without an argument process.exitCode holds; an undefined one would make it 0.
    return exit.apply(process, args);
  };
}
