/**
 * Restate: `node restate.mjs server BINARY FOLDER PORTS`, `… worker PORTS CONCURRENCY`, `… submitter PORTS CONCURRENCY`, where PORTS
 * are those of ingress, admin, node and service, separated by commas. A step is a `ctx.run`. The server keeps its journal in files
 * of its own and flushes them, as it does by default.
 */
import { spawn } from "node:child_process";
import { CHAIN_LENGTH, countEnd, FAN_WIDTH, fail, repeat, serve, stamp } from "./link.mjs";

const [role, ...args] = process.argv.slice(2);
// The SDK uses it, and Node 20 lacks it.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const POLL_MS = 50;
const START_LIMIT_MS = 30_000;

const urls = (ports) => {
  const [ingress, admin, , service] = ports.split(",").map((port) => `http://127.0.0.1:${port}`);
  return { ingress, admin, service };
};

async function until(ready, what) {
  const deadline = Date.now() + START_LIMIT_MS;
  while (!(await ready().catch(() => false))) {
    if (Date.now() > deadline) throw new Error(`${what} did not come up within ${START_LIMIT_MS / 1_000} s`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

async function server(binary, folder, ports) {
  const [ingress, admin, node] = ports.split(",");
  const child = spawn(binary, ["--base-dir", folder, "--no-logo", "--listen-mode", "tcp"], {
    env: {
      ...process.env,
      RESTATE_NODE_NAME: "bench",
      RESTATE_BIND_IP: "127.0.0.1",
      RESTATE_BIND_PORT: node,
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      RESTATE_DISABLE_TELEMETRY: "true",
      // It looks for newer releases, and complains where it reaches none.
      RESTATE_LOG_FILTER: "error,octocrab=off",
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  let ending = false;
  child.once("error", fail);
  child.once("exit", (code, signal) =>
    process.exit(ending ? 0 : fail(`restate-server ended: ${signal ?? code}`)),
  );
  const end = () => {
    ending = true;
    child.kill("SIGTERM");
  };
  process.once("SIGTERM", end);
  process.once("exit", () => child.kill("SIGKILL"));
  const { admin: adminUrl } = urls(ports);
  await until(async () => (await fetch(`${adminUrl}/health`)).ok, "restate-server");
  serve(() => {});
  process.removeAllListeners("disconnect").once("disconnect", end);
}

async function worker(ports) {
  const restate = await import("@restatedev/restate-sdk");
  const step = (ctx) =>
    ctx.run("step", () => {
      stamp();
      return { count: 1 };
    });
  const handlers = {
    chain: async (ctx) => {
      for (let done = 0; done < CHAIN_LENGTH; done += 1) await step(ctx);
    },
    fan: async (ctx) => {
      await step(ctx);
      await restate.RestatePromise.all(Array.from({ length: FAN_WIDTH }, () => step(ctx)));
      await step(ctx);
    },
    single: async (ctx) => {
      await step(ctx);
    },
  };
  const { admin, service } = urls(ports);
  const bench = restate.service({ name: "bench", handlers });
  await restate.serve({ services: [bench], port: Number(new URL(service).port), logger: () => {} });
  const registered = await fetch(`${admin}/deployments`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ uri: service }),
  });
  if (!registered.ok) throw new Error(`the service was not registered: ${await registered.text()}`);
  serve(() => {});
}

async function submitter(ports, concurrency) {
  const { ingress } = urls(ports);
  serve((kind, runs) =>
    repeat(runs, Number(concurrency), async () => {
      const called = await fetch(`${ingress}/bench/${kind}`, { method: "POST" });
      if (!called.ok) throw new Error(`a call failed: ${called.status} ${await called.text()}`);
      await called.arrayBuffer();
      countEnd();
    }),
  );
}

await { server, worker, submitter }[role](...args).catch(fail);
