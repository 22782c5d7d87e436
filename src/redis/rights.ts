/**
 * The rights that hitzero's user of Redis needs, and which of them it lacks.
 *
 * They are asked for at the start of a process: a right that is missing would show in the middle of the work, as a worker that
 * hears of no cancel or a run that does not go on. Scripts may ask without a right of its own (`acl_check_cmd`), and nothing is run.
 */
import { isAway, RedisAwayError, type RedisConnection } from "./connection.ts";
import { missingRights, redisFault } from "./connection_errors.ts";
import { controlChannel, PartitionKeys, stateChannel } from "./keys.ts";

const KEY = "KEY";
const CHANNEL = "CHANNEL";

/**
 * Every command that hitzero sends or its scripts call, as ACL rules name it, with arguments for the question. INFO and EVAL, with
 * which one asks, come first.
 */
export const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  info: [],
  eval: ["return 1", "1", KEY],
  evalsha: ["0", "1", KEY],
  "client|id": [],
  "client|unblock": ["1"],
  exists: [KEY],
  get: [KEY],
  hdel: [KEY, "f"],
  hexists: [KEY, "f"],
  hget: [KEY, "f"],
  hkeys: [KEY],
  hlen: [KEY],
  hmget: [KEY, "f"],
  hset: [KEY, "f", "v"],
  lrange: [KEY, "0", "1"],
  lrem: [KEY, "0", "v"],
  persist: [KEY],
  ping: [],
  pttl: [KEY],
  publish: [CHANNEL, ""],
  "pubsub|channels": ["p"],
  "pubsub|numpat": [],
  rpush: [KEY, "v"],
  sadd: [KEY, "v"],
  set: [KEY, "v"],
  smembers: [KEY],
  srem: [KEY, "v"],
  sscan: [KEY, "0"],
  strlen: [KEY],
  subscribe: [CHANNEL],
  time: [],
  unlink: [KEY],
  xack: [KEY, "g", "0-1"],
  xadd: [KEY, "*", "f", "v"],
  xautoclaim: [KEY, "g", "c", "0", "0"],
  xdel: [KEY, "0-1"],
  "xgroup|create": [KEY, "g", "0"],
  "xgroup|delconsumer": [KEY, "g", "c"],
  "xinfo|consumers": [KEY, "g"],
  "xinfo|stream": [KEY],
  xlen: [KEY],
  xpending: [KEY, "g"],
  xrange: [KEY, "-", "+"],
  xread: ["STREAMS", KEY, "0"],
  xreadgroup: ["GROUP", "g", "c", "STREAMS", KEY, "0"],
  xtrim: [KEY, "MAXLEN", "0"],
  zadd: [KEY, "0", "v"],
  zrange: [KEY, "0", "1"],
  zrangebyscore: [KEY, "0", "1"],
  zrem: [KEY, "v"],
  zscore: [KEY, "v"],
};

const keyPattern = (namespace: string) => `{${namespace}:*}:*`;
const channelPatterns = (namespace: string) => [controlChannel(namespace), stateChannel("*")];

/** What `ACL SETUSER` is told so that a user has exactly what hitzero needs. */
export function aclRules(namespace: string): string[] {
  return [
    `~${keyPattern(namespace)}`,
    ...channelPatterns(namespace).map((pattern) => `&${pattern}`),
    ...Object.keys(COMMANDS).map((command) => `+${command}`),
  ];
}

/** Replies with a number and a word for each question that is answered with no. Only what is refused anyway is really sent. */
const PROBE = `
  local refused = {}
  if not redis.acl_check_cmd then return refused end
  for number, command in ipairs(cjson.decode(ARGV[1])) do
    if not redis.acl_check_cmd(unpack(command)) then
      local reply = command[1] == 'publish' and redis.pcall(unpack(command)) or {}
      refused[#refused + 1] = {number - 1, string.find(reply.err or '', 'channel') and 'channel' or 'command'}
    end
  end
  return refused`;

interface Question {
  /** Of ACL SETUSER. */
  rule: string;
  command: readonly string[];
}

/** @throws HitzeroError PERMISSION_DENIED, which names every right that is missing; RedisAwayError */
export async function refuseMissingRights(connection: RedisConnection, namespace: string): Promise<void> {
  const key = new PartitionKeys(namespace, 0).meta;
  const ask = async (questions: readonly Question[]) => {
    const json = JSON.stringify(questions.map(({ command }) => command));
    const refused = await askServer(connection, json);
    return refused.map(([number, word]) => ({ ...(questions[number] as Question), word }));
  };
  // Asked with EVAL, which this user may run: only the key can be refused.
  const keys: Question = { rule: `~${keyPattern(namespace)}`, command: ["eval", "return 1", "1", key] };
  const channels = channelPatterns(namespace).map((pattern) => ({
    rule: `&${pattern}`,
    command: ["publish", pattern, ""],
  }));
  const missing = new Set<string>();
  for (const { rule } of await ask([keys])) missing.add(rule);
  for (const { rule, word } of await ask(channels)) missing.add(word === "channel" ? rule : "+publish");
  // Without a key or channel that one may use, it cannot be asked for a command on it.
  const askable = (args: readonly string[]) =>
    !(args.includes(KEY) && missing.has(keys.rule)) &&
    !(args.includes(CHANNEL) && channels.some(({ rule }) => missing.has(rule)));
  const commands = Object.entries(COMMANDS).flatMap(([name, args]) =>
    askable(args) ? [{ rule: `+${name}`, command: asked(name, args, key, namespace) }] : [],
  );
  for (const { rule } of await ask(commands)) missing.add(rule);
  if (missing.size > 0) throw missingRights(`Redis at ${connection.address}`, [...missing]);
}

async function askServer(connection: RedisConnection, json: string): Promise<[number, string][]> {
  try {
    return (await connection.redis.eval(PROBE, 0, json)) as [number, string][];
  } catch (error) {
    if (isAway(error)) throw new RedisAwayError(error);
    throw redisFault(error, connection.url);
  }
}

function asked(name: string, args: readonly string[], key: string, namespace: string): string[] {
  const value = (arg: string) =>
    arg === KEY ? key : arg === CHANNEL ? (channelPatterns(namespace)[0] as string) : arg;
  return [...name.split("|"), ...args.map(value)];
}
