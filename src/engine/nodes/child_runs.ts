/** Child runs: the runs of sub-workflow nodes. */
import { createHash } from "node:crypto";

/** Hexadecimal digits of a UUIDv7 that tell its time: 48 bits of milliseconds since 1970. */
const TIME_DIGITS = 12;

/**
 * The id of the child run of an execution: the same whoever asks, however often. A UUIDv7 with the time bits of the parent's id, which are
 * those of the run above all: the rows of a family are kept, and dropped, together. The rest is SHA-256 of (parent, node, scope).
 *
 * Children of earlier releases have other ids (UUIDv5): where a child may be on record, its id is read there (`child_run_id`).
 */
export function childRunId(parentRunId: string, nodeId: string, scope: string): string {
  const parent = parentRunId.toLowerCase();
  const time = parent.replaceAll("-", "").slice(0, TIME_DIGITS);
  // Neither an id of a run nor one of a node has a slash.
  const hash = createHash("sha256").update(`${parent}/${nodeId}/${scope}`).digest("hex");
  const variant = ((Number.parseInt(hash.charAt(3), 16) & 0x3) | 0x8).toString(16);
  return [
    time.slice(0, 8),
    time.slice(8),
    `7${hash.slice(0, 3)}`,
    variant + hash.slice(4, 7),
    hash.slice(7, 19),
  ].join("-");
}
