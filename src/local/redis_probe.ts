/**
 * Asks a Redis on the loopback who it is: one short connection, no client library, no retries.
 */

import { connect } from "node:net";

export interface RedisIdentity {
  pid: number;
  /** The configuration file it was started with; tells our server from another one that took its port. */
  configFile: string;
  /** False while it still reads its data from disk. */
  ready: boolean;
}

const ANSWER_LIMIT_MS = 2_000;

/** Identity of the server at the port; undefined if nothing answers there, or it refuses the password. */
export function probeRedis(port: number, password: string): Promise<RedisIdentity | undefined> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect({ host: "127.0.0.1", port });
    const finish = (identity: RedisIdentity | undefined) => {
      socket.destroy();
      resolve(identity);
    };
    socket.setEncoding("utf8");
    socket.setTimeout(ANSWER_LIMIT_MS, () => finish(undefined));
    socket.on("error", () => finish(undefined));
    socket.on("connect", () =>
      socket.write(`AUTH ${password}\r\nINFO server\r\nINFO persistence\r\nQUIT\r\n`),
    );
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("end", () => finish(parseInfo(answer)));
    socket.on("close", () => finish(undefined));
  });
}

function parseInfo(answer: string): RedisIdentity | undefined {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(answer)?.[1];
  const pid = Number(field("process_id"));
  const configFile = field("config_file");
  if (!pid || configFile === undefined) return undefined;
  return { pid, configFile, ready: field("loading") === "0" };
}
