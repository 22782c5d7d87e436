/** The scripts' copies of IRs (lua/load_ir.lua). */
import type { IR } from "../../workflow/ir/ir.ts";
import { packIR } from "../pack.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Fields and values that one call stores. */
const PART = 2_000;

/** Stores the packed adjacency of an IR for the scripts, in parts. Repeating it is harmless: the digest names the content. */
export async function loadIR(
  partition: Partition,
  digest: string,
  ir: IR,
  keys = partition.keys,
): Promise<void> {
  const named = [keys.meta, keys.ir(digest)];
  const fields = packIR(ir, partition.limits);
  for (let first = 0; first < fields.length; first += PART) {
    const done = first + PART >= fields.length;
    const json = JSON.stringify({ ...(await partition.fence(keys)), done });
    await partition.call("load_ir", named, [json, ...fields.slice(first, first + PART)], okReply);
  }
}

/** Runs a call that settles arrivals, once more after loading the IR if the scripts lack it. */
export async function withIR<T extends { word: string }>(
  partition: Partition,
  { digest, ir }: { digest: string; ir: IR },
  call: () => Promise<T>,
): Promise<T> {
  const reply = await call();
  if (reply.word !== "ir_missing") return reply;
  await loadIR(partition, digest, ir);
  return call();
}
