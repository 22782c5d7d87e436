import { HitzeroError } from "../base/errors.ts";

/** The start of a worker or supervisor that was told to stop before: its name in the registry is used up. */
export function alreadyStopped(id: string): HitzeroError {
  return new HitzeroError("ALREADY_STOPPED", `${id} was stopped and does not start again`, {
    hint: "Make a new one.",
  });
}
