/** Crashes on a broken invariant. Use it for what cannot happen; expected failures are `HitzeroError`s. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${message}`);
}
