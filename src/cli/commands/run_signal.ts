import { type Command, InvalidArgumentError } from "commander";
import { validate } from "uuid";
import type { Act } from "../program.ts";
import { withWaitingClient } from "../shell/with_client.ts";
import { steer } from "./run_control.ts";

interface Flags {
  payload?: string;
  by?: string;
  scope?: string;
  id?: string;
  wait?: boolean;
}

export function addRunSignal(run: Command, act: Act): void {
  run
    .command("signal")
    .description("give a signal to a run: answer an approval, wake a signal node, add items to an open map")
    .argument("<run_id>", "the run's id")
    .argument("<name>", "the signal's name, as the node's config.name says")
    .option("--payload <json>", "what it brings, as JSON or @FILE; default null")
    .option("--by <who>", "who gives it; nodes with assignees take it from these alone")
    .option("--scope <scope>", "the execution that it is for, as each:17; default: whoever waited longest")
    .option("--id <uuid>", "id of the signal: the same id again is the same signal", idOf)
    .option("--wait", "wait until it took effect")
    .addHelpText(
      "after",
      `
A signal that comes early is kept for the next node that waits for it (with \`transient: true\` it is dropped). Refused, with exit
code 2, is what no node of the workflow takes: another name, another payload, from somebody else, or for a run that is over.

Examples:
  npx hitzero run signal $RUN_ID approve --by ann --payload '{"approved": true}'
  npx hitzero run signal $RUN_ID paid --payload @payment.json --id 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run signal $RUN_ID approve --scope each:17 --payload '{"approved": false}' --wait
  npx hitzero run signal $RUN_ID more --payload '{"items": [1, 2], "close": true}'`,
    )
    .action(
      act<Flags>(async (invocation) => {
        const { payload, by, scope, id } = invocation.flags;
        const { readInput } = await import("../shell/documents.ts");
        const signal = {
          name: invocation.args[1] as string,
          ...(payload === undefined ? {} : { payload: readInput(payload, "--payload") }),
          ...(by === undefined ? {} : { by }),
          ...(scope === undefined ? {} : { scope }),
        };
        return withWaitingClient(invocation, (client, lifetime) =>
          steer(
            { kind: "signal", signal: signal.name },
            (runId) => client.signal(runId, signal, id),
            invocation,
            client,
            lifetime,
          ),
        );
      }),
    );
}

function idOf(text: string): string {
  if (validate(text)) return text;
  throw new InvalidArgumentError("Give a UUID, as `uuidgen` makes them.");
}
