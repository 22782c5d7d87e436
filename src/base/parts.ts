/** Splits a list, in order, into parts whose sizes come to `most` at most; what is larger stands alone. */
export function partsBySize<T>(list: readonly T[], sizeOf: (one: T) => number, most: number): T[][] {
  const parts: T[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const one of list) {
    const size = sizeOf(one);
    if (filled + size > most) {
      parts.push([]);
      filled = 0;
    }
    parts.at(-1)?.push(one);
    filled += size;
  }
  return parts;
}
