/** The engines that hitzero is compared with, and how each is started. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { freePort } from "../../src/local/free_port.ts";
import type { Rig } from "../rig.ts";
import { WORKS } from "./engine.ts";
import type { Lineup } from "./lineup.ts";
import { PEERS_FOLDER, Peer, type PeerOptions, versionOf } from "./peer.ts";

export const PEERS = ["bullmq", "dbos", "restate"] as const;
export type PeerName = (typeof PEERS)[number];

/** A peer that does not run here. */
export interface Missing {
  name: string;
  reason: string;
}

/** There is no build of it for this system. */
class NotHereError extends Error {}

/** Starts these and lines them up; one that does not run here is returned, one that fails is noted, and the others are measured. */
export async function startPeers(
  names: readonly PeerName[],
  rig: Rig,
  concurrency: number,
  lineup: Lineup,
): Promise<Missing[]> {
  const missing: Missing[] = [];
  for (const name of names) {
    try {
      for (const options of await OPTIONS[name](rig, concurrency)) lineup.add(await Peer.start(options));
    } catch (error) {
      if (error instanceof NotHereError) missing.push({ name, reason: error.message });
      else lineup.fail(name, "its start", error);
    }
  }
  return missing;
}

type MakeOptions = (rig: Rig, concurrency: number) => Promise<PeerOptions[]>;

const OPTIONS: Record<PeerName, MakeOptions> = { bullmq, dbos, restate };

async function bullmq(rig: Rig, concurrency: number): Promise<PeerOptions[]> {
  const version = versionOf("bullmq");
  const modes = [
    { mode: "flows", title: "BullMQ flows", works: WORKS },
    { mode: "by_hand", title: "BullMQ by hand", works: ["chain"] as const },
  ];
  return modes.map(({ mode, title, works }) => ({
    ...{ name: `bullmq_${mode}`, title, version, works, script: "bullmq.mjs" },
    submitter: "submitter",
    roles: (["worker", "submitter"] as const).map((part) => ({
      part,
      args: [part, mode, rig.servers.redisUrl, `${concurrency}`],
    })),
  }));
}

async function dbos(rig: Rig, concurrency: number): Promise<PeerOptions[]> {
  const url = new URL(rig.servers.databaseUrl);
  // It makes a database of its own on the same server.
  url.pathname = "/dbos_bench";
  return [
    {
      ...{ name: "dbos", title: "DBOS", version: versionOf("@dbos-inc/dbos-sdk"), works: WORKS },
      script: "dbos.mjs",
      submitter: "worker",
      roles: [{ part: "worker", args: [url.href, `${concurrency}`] }],
    },
  ];
}

async function restate(rig: Rig, concurrency: number): Promise<PeerOptions[]> {
  const ports = [];
  for (let port = 0; port < 4; port += 1) ports.push(await freePort());
  const list = ports.join(",");
  return [
    {
      ...{ name: "restate", title: "Restate", works: WORKS, script: "restate.mjs" },
      submitter: "submitter",
      version: versionOf("@restatedev/restate-server"),
      roles: [
        { part: "server", args: ["server", restateBinary(), join(rig.folder, "restate"), list] },
        { part: "worker", args: ["worker", list] },
        { part: "submitter", args: ["submitter", list, `${concurrency}`] },
      ],
    },
  ];
}

/** @throws NotHereError when the package has no server for this system */
function restateBinary(): string {
  const name = `@restatedev/restate-server-${process.platform}-${process.arch}`;
  try {
    const require = createRequire(join(PEERS_FOLDER, "package.json"));
    return join(require.resolve(`${name}/package.json`), "../bin/restate-server");
  } catch {
    throw new NotHereError(`there is no restate-server for ${process.platform} ${process.arch} (${name})`);
  }
}
