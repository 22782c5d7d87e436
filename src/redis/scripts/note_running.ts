/** Puts executions that last into the journal (lua/note_running.lua). */
import type { RunningNote } from "../calls.ts";
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Puts long-running executions into the journal. */
export async function noteRunning(
  partition: Partition,
  worker: string,
  notes: readonly RunningNote[],
): Promise<void> {
  const { keys } = partition;
  const list = new KeyList([keys.meta, keys.journal]);
  const json = {
    ...(await partition.fence(keys)),
    worker,
    notes: notes.map((note) => ({
      run: list.position(keys.run(note.runId)),
      id: note.runId,
      g: note.generation,
      node: note.node,
      scope: note.scope,
      attempt: note.attempt,
      delivery: note.delivery,
      nonce: note.nonce,
      started_at: note.startedAt,
    })),
  };
  await partition.call("note_running", list.keys, [JSON.stringify(json)], okReply);
}
