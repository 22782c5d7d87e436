/**
 * Preloaded by the processes whose script calls are measured: each script notes the CPU time that Redis spent on it, in the list of
 * `script_calls.ts`. Unlike the wall time of the slow log it leaves out what other processes, and other machines on the same host, took.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const SCRIPT = /\/lua\/(\w+)\.lua$/;
const read = fs.readFileSync;

fs.readFileSync = (path, ...options) => {
  const text = read(path, ...options);
  const name = SCRIPT.exec(String(path))?.[1];
  return name === undefined ? text : timed(name, text);
};
syncBuiltinESMExports();

/** Redis knows its main thread's CPU time to the microsecond. */
const CLOCK = `local function cpu_us()
  local info = redis.call('INFO', 'cpu')
  local user = string.match(info, 'used_cpu_user_main_thread:([%d.]+)')
  local system = string.match(info, 'used_cpu_sys_main_thread:([%d.]+)')
  return (user + system) * 1000000
end`;

function timed(name, text) {
  const [flags, ...lines] = text.split("\n");
  const note = `redis.call('RPUSH', 'bench:script_cpu', '${name}:' .. string.format('%.0f', taken))`;
  return [
    flags,
    CLOCK,
    "local begun = cpu_us()",
    "local function script()",
    ...lines,
    "end",
    "local reply = script()",
    "local taken = cpu_us() - begun",
    `if taken >= 1000 then ${note} end`,
    "return reply",
  ].join("\n");
}
