import type { Command } from "commander";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";

interface Flags {
  yes?: boolean;
  own?: boolean;
}

export function addClearRedis(program: Command, act: Act): void {
  program
    .command("clear-redis")
    .description("remove every key of the namespace from Redis, when another database left them there")
    .option("--yes", "remove them; without it the command only reports what it would remove")
    .option("--own", "also when the keys belong to this database and its runs are under way")
    .addHelpText(
      "after",
      `
Redis belongs to one database: the keys of each namespace carry its id, and supervisors, workers and clients of another
database refuse them with REDIS_FOREIGN. When that other database is gone for good, this command makes room.
Stop the processes that use the namespace first. Nothing in Postgres changes.

Examples:
  npx hitzero clear-redis                                 what is there, and whose it is
  npx hitzero clear-redis --namespace reports --yes`,
    )
    .action(act<Flags>(clear));
}

async function clear(invocation: Invocation<Flags>): Promise<number> {
  const { flags, terminal } = invocation;
  const { clearKeys } = await import("../clear_namespace.ts");
  const found = await clearKeys(invocation.servers(), {
    remove: flags.yes === true,
    own: flags.own === true,
  });
  if (terminal.json) {
    terminal.document(found);
    return 0;
  }
  const { namespace, installations, keys, removed } = found;
  const names = installations.map((id) => id ?? "an older release").join(", ");
  const what = `${plural(keys, "key")}${names === "" ? "" : ` of installation ${names}`}`;
  terminal.print(
    removed
      ? `${terminal.colors.green("✔")} removed from namespace ${namespace}: ${what}`
      : `namespace ${namespace} has ${what}${keys > 0 ? "; --yes removes them" : ""}`,
  );
  return 0;
}
