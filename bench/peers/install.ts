/** The peers' packages are installed when they are first asked for: they are no part of hitzero's own. */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { PEERS_FOLDER } from "./peer.ts";

/** @throws Error when npm cannot install them */
export function installPeers(onNotice: (line: string) => void): void {
  const lock = join(PEERS_FOLDER, "package-lock.json");
  const installed = join(PEERS_FOLDER, "node_modules/.package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  onNotice("installing the peers' packages in bench/peers (250 MB, once)");
  // None of them needs its install scripts; one of those reports to its maker.
  const command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stderr, error } = spawnSync("npm", command, { cwd: PEERS_FOLDER, encoding: "utf8" });
  if (status === 0) return;
  throw new Error(
    `\`npm ci\` in bench/peers did not succeed, and without it nothing can be compared. It needs the npm registry.\n${error ?? stderr}`,
  );
}
