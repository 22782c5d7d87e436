/** Error replies that speak of the server's state, not of the call: they are repeated, on the same connection or on a new one. */

/** `elsewhere`: this is not, or no longer, the primary; whoever wants it looks the address up again. `wait`: the same server will do. */
type Meaning = "elsewhere" | "wait";

const MEANINGS: Readonly<Record<string, Meaning>> = {
  // A replica, by now: writes, and blocked reads at the moment of the change.
  READONLY: "elsewhere",
  UNBLOCKED: "elsewhere",
  // A replica that lost its primary, or takes a copy of it.
  MASTERDOWN: "elsewhere",
  LOADING: "elsewhere",
  // Too few replicas listen, or the disk refuses.
  NOREPLICAS: "wait",
  MISCONF: "wait",
  OOM: "wait",
  // A script or a function of somebody runs for long.
  BUSY: "wait",
  CLUSTERDOWN: "wait",
  TRYAGAIN: "wait",
};

/** Undefined: the reply is about the call. */
export function meaningOf(message: string): Meaning | undefined {
  return MEANINGS[/^[A-Z]+/.exec(message)?.[0] ?? ""];
}
