/**
 * What escapes from a handler: the rejection of a promise that it did not await, an error thrown by a timer that it set.
 *
 * Owns: the process hooks, while a worker runs. Each execution is performed in an asynchronous context of its own, by which an error
 * that nothing caught is attributed to it, and fails it alone. What belongs to no execution has its ordinary effect: other
 * listeners decide, and without any the process ends as Node has it.
 */
import { AsyncLocalStorage } from "node:async_hooks";

interface Context {
  /** The execution, in words. */
  name: string;
  /** Receives what escapes from it. */
  onEscape: (error: unknown) => void;
}

const contexts = new AsyncLocalStorage<Context>();

/** Calls `work` with what is given; whatever escapes from it, also later, is given to `onEscape`. */
export function performWatched<T, Given extends unknown[]>(
  context: Context,
  work: (...given: Given) => T,
  ...given: Given
): T {
  return contexts.run(context, work, ...given);
}

/** Whose code runs now, in words; undefined: no execution's. */
export function executionOf(): string | undefined {
  return contexts.getStore()?.name;
}

/** Asked by listeners of `uncaughtException`: is the error an execution's, which then fails instead of the process? */
export function isOfExecution(): boolean {
  return watchers > 0 && contexts.getStore() !== undefined;
}

let watchers = 0;

/** Attributes what escapes from executions until the returned function is called. */
export function watchEscapes(): () => void {
  watchers += 1;
  // Anew each time: somebody may have removed all listeners of the process since.
  leave();
  listen();
  let watching = true;
  return () => {
    if (!watching) return;
    watching = false;
    watchers -= 1;
    if (watchers === 0) leave();
  };
}

function listen(): void {
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
}

function leave(): void {
  process.off("uncaughtException", onException);
  process.off("unhandledRejection", onRejection);
}

function onException(error: unknown): void {
  if (attribute(error) || process.listenerCount("uncaughtException") > 1) return;
  withoutListening(() =>
    process.nextTick(() => {
      throw error;
    }),
  );
}

function onRejection(reason: unknown): void {
  if (attribute(reason) || process.listenerCount("unhandledRejection") > 1) return;
  withoutListening(() => void Promise.reject(reason));
}

function attribute(error: unknown): boolean {
  const context = contexts.getStore();
  if (context) contexts.exit(() => context.onEscape(error));
  return context !== undefined;
}

/** Has it happen again as if nobody listened. */
function withoutListening(happen: () => void): void {
  leave();
  happen();
  setImmediate(() => {
    leave();
    if (watchers > 0) listen();
  });
}
