/** The scripts' replies: words and tokens, parsed where they enter. An empty Lua table arrives as absent. */
import { z } from "zod";

const word = z.object({ word: z.string() });

export const refusedReply = z.object({
  word: z.literal("refused"),
  why: z.enum(["closed", "layout", "epoch", "timeline", "installation", "queue", "key"]),
});

export const openReply = z.object({
  word: z.enum(["opened", "exists", "absent", "epoch", "layout", "timeline", "installation"]),
});

const startWord = z.enum(["started", "exists", "gone", "late", "ir_missing"]);
export type StartWord = z.infer<typeof startWord>;
export const startReply = z.object({ word: z.literal("ok"), runs: z.array(startWord) });

export const fireReply = z.object({ word: z.literal("ok"), fired: z.number() });
export const renewReply = z.object({
  word: z.literal("ok"),
  lost: z.array(z.number()).default([]),
  suspects: z.number(),
});
export const commandReply = z.object({
  word: z.enum([
    "applied",
    "repeated",
    "paused",
    "not_paused",
    "final",
    "gone",
    "unstarted",
    "stale",
    "full",
    "busy",
    "ir_missing",
  ]),
});
export const sweepReply = z.object({ word: z.enum(["ok", "ir_missing"]), changed: z.number().default(0) });
export const reviveReply = z.object({
  word: z.enum(["ok", "ir_missing"]),
  revived: z.number().default(0),
  alive: z.number().default(0),
});
export const wakeReply = z.object({ word: z.enum(["woken", "stale", "busy", "ir_missing"]) });
export const compensateReply = z.object({ word: z.enum(["begun", "idle"]) });
export const reclaimReply = z.object({ word: z.literal("ok"), reclaimed: z.number() });

export const countReply = z.object({
  word: z.literal("ok"),
  waited: z.array(z.tuple([z.number(), z.number()])),
});
export const tidyReply = z.object({ word: z.literal("ok"), removed: z.number() });

export const okReply = z.object({ word: z.literal("ok") });

/** Workers whose processes died while they performed an execution (lua/lib/losses.lua). */
const losses = z.object({ lost: z.number(), alone: z.number(), unexplained: z.number(), words: z.string() });
export type Losses = z.infer<typeof losses>;

const token = z.object({
  id: z.string(),
  g: z.number(),
  digest: z.string(),
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  nonce: z.string(),
  /** Handed over: position of the finished item that led here. */
  after: z.number().optional(),
  /** Claimed: position of the claim that it answers; known when the parts of a call are put together (`applyCall`). */
  claim: z.number().optional(),
  sources: z.array(z.number()).default([]),
  /** A wide join: the worker finds its sources and their outputs in the run's state. */
  wide: z.boolean().optional(),
  /** Payload of each source's output; -1: the finished item's own, 0: none. */
  inputs: z.array(z.number()).default([]),
  /** [node, payload] of each ancestor asked for. */
  needs: z.array(z.tuple([z.number(), z.number()])).default([]),
  /** Payload of the run's input; 0 when handed over (the worker has it). */
  input: z.number(),
  /** Payload: what it waits for, or what woke it (field p of the run's state). */
  woken: z.number().optional(),
  /** Workers that were lost with it. */
  losses: losses.optional(),
});

export const advanceReply = z.object({
  word: z.literal("ok"),
  finished: z
    .array(word.extend({ word: z.enum(["done", "duplicate", "stale", "gone", "ir_missing", "busy"]) }))
    .default([]),
  claims: z
    .array(
      word.extend({
        word: z.enum(["run", "parked", "cancelled", "moved", "stale", "gone", "ir_missing", "busy"]),
      }),
    )
    .default([]),
  tokens: z.array(token).default([]),
  /** There is a function stream that was not there before. */
  opened: z.boolean().default(false),
});
export type AdvanceReply = z.infer<typeof advanceReply>;
export type HandedToken = z.infer<typeof token>;

/** Is an item with this answer to be sent again? */
export const isPostponed = (word: string | undefined): boolean => word === "ir_missing" || word === "busy";
