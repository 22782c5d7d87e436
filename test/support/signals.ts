import type { Redis } from "ioredis";

/** As though so many signals of this name had come before anybody waited for one (lua/lib/waiting.lua). */
export async function keepSignals(
  redis: Redis,
  run: string,
  name: string,
  count: number,
  payload: (index: number) => string = String,
): Promise<void> {
  const signals = Array.from({ length: count }, (_value, index) => [
    `F${index + 1}:${name}`,
    `${index + 1 < count ? index + 2 : ""}:${payload(index)}`,
  ]);
  const ends = { [`E:${name}`]: `1,${count}`, [`s${name}`]: `,,${count},${count}` };
  await redis.hset(run, { ...ends, ...Object.fromEntries(signals) });
}
