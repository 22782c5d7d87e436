import { comparePeers } from "./command.ts";

process.exitCode = await comparePeers(process.argv.slice(2), process.stdout, process.stderr);
