/** Child runs: the runs of sub-workflow nodes. */
import { v5 as uuidv5 } from "uuid";

/** The id of the child run of an execution: the same whoever asks, however often. */
export function childRunId(parentRunId: string, nodeId: string, scope: string): string {
  return uuidv5(`${nodeId}/${scope}`, parentRunId);
}
