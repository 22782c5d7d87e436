/** Redis and Postgres in containers, for machines that have a container engine and no server programs. */

import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import pg from "pg";
import { GenericContainer, type StartedTestContainer } from "testcontainers";
import { until } from "./until.ts";

/** Time for an image to be fetched, too. */
const START_LIMIT_MS = 110_000;
const ANSWER_LIMIT_MS = 30_000;
const REDIS_PORT = 6379;
const POSTGRES_PORT = 5432;

export interface ContainerServer {
  url: string;
  /** Ends and removes the container. */
  stop(): Promise<void>;
}

/** A Redis that evicts nothing. @throws Error when there is no container engine or no image */
export async function startRedisContainer(): Promise<ContainerServer> {
  const password = randomPassword();
  const settings = [
    "--requirepass",
    password,
    "--appendonly",
    "yes",
    "--maxmemory-policy",
    "noeviction",
    "--save",
    "",
  ];
  const container = await new GenericContainer("redis:7")
    .withCommand(["redis-server", ...settings])
    .withExposedPorts(REDIS_PORT)
    .withStartupTimeout(START_LIMIT_MS)
    .start();
  const url = `redis://:${password}@${container.getHost()}:${container.getMappedPort(REDIS_PORT)}`;
  return answering(container, url, answersRedis);
}

/** A Postgres whose user may create databases. @throws Error when there is no container engine or no image */
export async function startPostgresContainer(): Promise<ContainerServer> {
  const password = randomPassword();
  const container = await new GenericContainer("postgres:15")
    .withEnvironment({ POSTGRES_USER: "hitzero", POSTGRES_PASSWORD: password, POSTGRES_DB: "hitzero" })
    // The data are thrown away.
    .withCommand(["postgres", "-c", "fsync=off", "-c", "max_connections=200"])
    .withExposedPorts(POSTGRES_PORT)
    .withStartupTimeout(START_LIMIT_MS)
    .start();
  const place = `${container.getHost()}:${container.getMappedPort(POSTGRES_PORT)}`;
  return answering(container, `postgres://hitzero:${password}@${place}/hitzero`, answersPostgres);
}

/** Ports are open on all of the machine's addresses. */
function randomPassword(): string {
  return randomBytes(18).toString("hex");
}

/** Waits until the server in the container answers; ends the container if it does not. */
async function answering(
  container: StartedTestContainer,
  url: string,
  answers: (url: string) => Promise<boolean>,
): Promise<ContainerServer> {
  const stop = async () => void (await container.stop());
  try {
    await until(() => answers(url), "the server in the container answers", ANSWER_LIMIT_MS);
    return { url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function answersRedis(url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  redis.on("error", () => {});
  try {
    await redis.connect();
    return (await redis.ping()) === "PONG";
  } finally {
    redis.disconnect();
  }
}

async function answersPostgres(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("select 1");
    return true;
  } finally {
    await client.end().catch(() => {});
  }
}
