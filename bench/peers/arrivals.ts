/** When runs arrive that do not wait for one another. */

/**
 * Milliseconds from the begin at which runs arrive: a Poisson process, whose gaps are exponential.
 * @param perSecond mean rate
 * @param random numbers from 0 up to, but not including, 1
 */
export function poissonArrivals(perSecond: number, seconds: number, random: () => number): number[] {
  const arrivals: number[] = [];
  const meanMs = 1_000 / perSecond;
  for (let at = 0; ; ) {
    at -= meanMs * Math.log(1 - random());
    if (at >= seconds * 1_000) return arrivals;
    arrivals.push(at);
  }
}

/** Numbers that are the same for the same seed: mulberry32, by Tommy Ettinger (public domain). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
