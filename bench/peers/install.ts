/** The peers' packages are installed when they are first asked for: they are no part of hitzero's own. */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PEERS_FOLDER } from "./peer.ts";

/** @throws Error when npm cannot install them */
export function installPeers(onNotice: (line: string) => void): void {
  const lock = join(PEERS_FOLDER, "package-lock.json");
  /** What was installed: git gives files new times whenever it likes. */
  const installed = join(PEERS_FOLDER, "node_modules/.installed-lock.json");
  if (existsSync(installed) && readFileSync(installed).equals(readFileSync(lock))) return;
  onNotice("installing the peers' packages in bench/peers (250 MB, once)");
  // None of them needs its install scripts; one of those reports to its maker.
  const command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stderr, error } = spawnSync("npm", command, { cwd: PEERS_FOLDER, encoding: "utf8" });
  if (status !== 0)
    throw new Error(
      `\`npm ci\` in bench/peers did not succeed, and without it nothing can be compared. It needs the npm registry.\n${error ?? stderr}`,
    );
  copyFileSync(lock, installed);
}
