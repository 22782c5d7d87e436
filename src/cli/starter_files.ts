/** The files of a starter project (`init`). */

export interface StarterFile {
  name: string;
  text: string;
}

const WORKFLOW = `# An order: small ones are approved at once, large ones go to review. Either way there is a receipt.
# yaml-language-server: $schema=node_modules/hitzero/schema/workflow.schema.json
name: order
metadata:
  description: Checks an order and writes a receipt.
  version: "1"
input_schema:
  type: object
  required: [order_id]
  properties:
    order_id: { type: string }
nodes:
  - id: fetch
    type: function
    config: { function_name: fetch_order }
    retry: { max_attempts: 3, backoff_ms: 500 }
  - id: decide
    type: conditional
  - id: approve
    type: function
    config: { function_name: approve, params: { by: the machine } }
  - id: review
    type: function
    config: { function_name: review }
  - id: receipt
    type: function
    config: { function_name: write_receipt }
edges:
  - { from: fetch, to: decide }
  - { from: decide, to: review, condition: data.amount > 100.0 }
  - { from: decide, to: approve }
  - { from: approve, to: receipt }
  - { from: review, to: receipt }
`;

const HANDLERS = `/** The workflow's functions: each exported function is a handler by its name. What it returns is its node's output. */
import type { HandlerContext } from "hitzero";

interface Order {
  order_id: string;
  amount: number;
}

/** An entry node's \`input\` is the run's input. */
export async function fetch_order({ input }: HandlerContext): Promise<Order> {
  const { order_id } = input as { order_id: string };
  return { order_id, amount: order_id.length * 25 };
}

/** \`data\` is what the node before it returned; \`params\` stand in the workflow file. */
export async function approve({ data, params }: HandlerContext) {
  return { ...(data as Order), approved: true, by: params.by };
}

/** A second call for the same node has the same \`idempotencyKey\`: give it to whatever must happen once. */
export async function review({ data, log, idempotencyKey }: HandlerContext) {
  log.info({ idempotency_key: idempotencyKey }, "an order is looked at");
  return { ...(data as Order), approved: true, by: "a person" };
}

/** Two nodes lead here: \`data\` has the outputs of those that ran, by node id. */
export async function write_receipt({ data }: HandlerContext) {
  const decision = Object.values(data as Record<string, Order & { by: string }>)[0];
  return { receipt: \`\${decision?.order_id}: \${decision?.amount} EUR, approved by \${decision?.by}\` };
}
`;

const CONFIG = `{
  "handlers": "handlers.ts"
}
`;

const COMPOSE = `# Redis and Postgres for hitzero. \`npx hitzero up\` needs neither this file nor Docker: it runs servers of its own.
services:
  redis:
    image: redis:7-alpine
    # Runs under way live here: every write goes to the append-only file, and nothing is ever thrown away.
    command: redis-server --appendonly yes --appendfsync everysec --maxmemory-policy noeviction
    ports: ["127.0.0.1:6379:6379"]
    volumes: ["redis:/data"]
    healthcheck: { test: ["CMD", "redis-cli", "ping"], interval: 2s }
  postgres:
    image: postgres:17-alpine
    environment: { POSTGRES_USER: hitzero, POSTGRES_PASSWORD: hitzero, POSTGRES_DB: hitzero }
    ports: ["127.0.0.1:5432:5432"]
    volumes: ["postgres:/var/lib/postgresql/data"]
    healthcheck: { test: ["CMD", "pg_isready", "-U", "hitzero"], interval: 2s }
volumes:
  redis:
  postgres:
`;

const README = (name: string) => `# ${name}

A workflow on [hitzero](https://www.npmjs.com/package/hitzero): \`workflow.yaml\` is the graph, \`handlers.ts\` its functions.

\`\`\`sh
npm install
npx hitzero compile workflow.yaml        # checks it; needs no server
npx hitzero up                           # Redis, Postgres, a supervisor and two workers, until Ctrl-C
\`\`\`

In a second terminal, in this folder:

\`\`\`sh
npx hitzero submit workflow.yaml --input '{"order_id": "A-17"}' --wait
npx hitzero run list
npx hitzero run graph RUN_ID
npx hitzero doctor
\`\`\`

With the servers of \`docker-compose.yml\` (or any others) instead of those of \`up\`:

\`\`\`sh
docker compose up -d --wait
export HITZERO_REDIS_URL=redis://localhost:6379
export HITZERO_DATABASE_URL=postgres://hitzero:hitzero@localhost:5432/hitzero
npx hitzero migrate
npx hitzero supervisor &
npx hitzero worker --processes 2 &
\`\`\`
`;

const packageJson = (name: string, dependency: string) =>
  `${JSON.stringify(
    {
      name,
      version: "0.1.0",
      private: true,
      type: "module",
      scripts: {
        check: "hitzero compile workflow.yaml",
        start: "hitzero up",
        submit: "hitzero submit workflow.yaml --wait",
      },
      dependencies: { hitzero: dependency },
    },
    null,
    2,
  )}\n`;

/** @param dependency what package.json says of hitzero: a version, or where it lies */
export function starterFiles(name: string, dependency: string): StarterFile[] {
  return [
    { name: "workflow.yaml", text: WORKFLOW },
    { name: "handlers.ts", text: HANDLERS },
    { name: "hitzero.config.json", text: CONFIG },
    { name: "package.json", text: packageJson(name, dependency) },
    { name: "docker-compose.yml", text: COMPOSE },
    { name: "README.md", text: README(name) },
    { name: ".gitignore", text: "node_modules/\n.hitzero/\n" },
  ];
}
