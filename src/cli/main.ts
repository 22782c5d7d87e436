#!/usr/bin/env node
/** The command `hitzero`. */
import { runCli } from "./program.ts";

process.exitCode = await runCli(process.argv.slice(2));
// What a user's module left open (timers, sockets) must not hold the process up. First, all that was printed has to be out.
process.stdout.write("", () => process.stderr.write("", () => process.exit()));
