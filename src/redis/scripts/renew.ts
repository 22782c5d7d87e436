/** A worker lists the tokens that it holds (lua/renew.lua). */
import { LISTED } from "../../token/letters.ts";
import type { StreamPlace } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { renewReply } from "../replies.ts";

/** What a worker says of itself when it lists the tokens that it holds. */
export interface Listing {
  worker: string;
  leaseMs: number;
  /** Kept tokens. */
  held: readonly string[];
  /** Streams of suspects that it reads. */
  suspects: readonly StreamPlace[];
  /** Since when it may have been handed tokens that it does not know of, by `performance.now()`. */
  since: number;
  /** It is told to stop: what it does not finish is nobody's fault. */
  leaves: boolean;
  /** The lease of the suspect that it performs, and nothing else. */
  alone: string;
}

/** Lists what a worker holds: its leases are renewed. Returns the tokens that are held no more, and how many suspects wait for it. */
export async function renewLeases(
  partition: Partition,
  listing: Listing,
): Promise<{ lost: string[]; suspects: number }> {
  const { worker, leaseMs, held, since, leaves, alone } = listing;
  const { keys } = partition;
  const streams = listing.suspects.map((place) => keys.stream(place));
  let suspects = 0;
  const { meta, leases, workers, listings, lastWords } = keys;
  const atOnce = partition.limits.members;
  const lost: string[] = [];
  for (let first = 0; first === 0 || first < held.length; first += atOnce) {
    const part = held.slice(first, first + atOnce);
    const isLast = first + atOnce >= held.length;
    const fence = await partition.fence(keys);
    const said = { age_ms: Math.ceil(performance.now() - since), flags: leaves ? LISTED.leaves : "", alone };
    const json = { ...fence, worker, lease_ms: leaseMs, held: part, ...(isLast ? { listing: said } : {}) };
    const named = [meta, leases, workers, listings, lastWords, ...streams];
    const reply = await partition.call("renew", named, [JSON.stringify(json)], renewReply);
    lost.push(...reply.lost.map((position) => part[position] as string));
    suspects = reply.suspects;
  }
  return { lost, suspects };
}
