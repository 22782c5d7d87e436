/**
 * Turns a recorded workflow of WfCommons (tasks with parents, children and run times) into a hitzero workflow file.
 *
 *     npx tsx scripts/convert_wfcommons.ts IN OUT
 *
 * Ids, edges and run times are carried over; the workflow is named after OUT. Refuses a recording whose parents and children disagree. Prints its facts.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { z } from "zod";

const Recording = z.object({
  source: z.string(),
  name: z.string(),
  tasks: z.array(
    z.object({
      id: z.string().regex(/^[a-zA-Z0-9_-]+$/u),
      parents: z.array(z.string()),
      children: z.array(z.string()),
      runtime_s: z.number().nonnegative(),
    }),
  ),
});

type Recording = z.infer<typeof Recording>;
type Task = Recording["tasks"][number];

interface Facts {
  tasks: number;
  edges: number;
  levels: number;
  sequential_s: number;
  critical_path_s: number;
}

/** Every way in which the recording contradicts itself, one sentence each. */
function contradictions(tasks: readonly Task[]): string[] {
  const ids = new Set(tasks.map((task) => task.id));
  const down = new Set(tasks.flatMap((task) => task.children.map((child) => `${task.id} -> ${child}`)));
  const up = new Set(tasks.flatMap((task) => task.parents.map((parent) => `${parent} -> ${task.id}`)));
  const named = tasks.flatMap((task) => [...task.parents, ...task.children]);
  const links = tasks.reduce((sum, task) => sum + task.parents.length + task.children.length, 0);
  return [
    ...(ids.size === tasks.length ? [] : ["a task id occurs twice"]),
    ...(down.size + up.size === links ? [] : ["a task names the same parent or child twice"]),
    ...named.filter((id) => !ids.has(id)).map((id) => `${id} is named but is no task`),
    ...[...down].filter((edge) => !up.has(edge)).map((edge) => `${edge} is a child, but no parent`),
    ...[...up].filter((edge) => !down.has(edge)).map((edge) => `${edge} is a parent, but no child`),
  ];
}

/** Longest way to each task, measured by `cost`, its own cost included. Throws on a cycle. */
function longestWays(tasks: readonly Task[], cost: (task: Task) => number): number[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const known = new Map<string, number>();
  const walk = (task: Task, path: readonly string[]): number => {
    if (path.includes(task.id)) throw new Error(`cycle through ${task.id}`);
    const before = known.get(task.id);
    if (before !== undefined) return before;
    const parents = task.parents.map((id) => walk(byId.get(id)!, [...path, task.id]));
    const way = Math.max(0, ...parents) + cost(task);
    known.set(task.id, way);
    return way;
  };
  return tasks.map((task) => walk(task, []));
}

function factsOf(tasks: readonly Task[]): Facts {
  const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;
  return {
    tasks: tasks.length,
    edges: tasks.reduce((sum, task) => sum + task.children.length, 0),
    levels: Math.max(...longestWays(tasks, () => 1)),
    sequential_s: round(tasks.reduce((sum, task) => sum + task.runtime_s, 0)),
    critical_path_s: round(Math.max(...longestWays(tasks, (task) => task.runtime_s))),
  };
}

/** The recording as a workflow file. Its handler, `simulate_task`, sleeps `runtime_s` times the input's `time_scale`. */
function workflowOf(name: string, recording: Recording, facts: Facts): unknown {
  return {
    name,
    metadata: {
      description: `A recorded run of ${name} (${recording.name}) as a workflow: each node lasts as long as the task did, times input.time_scale.`,
      version: "1",
      tags: ["wfcommons", "example"],
      attribution: "Converted from WfCommons WfInstances (https://github.com/wfcommons/WfInstances), LGPL.",
      source: recording.source,
      facts,
      example_input: { time_scale: 0.001 },
    },
    nodes: recording.tasks.map((task) => ({
      id: task.id,
      type: "function",
      config: {
        function_name: "simulate_task",
        params: { task: task.id.replace(/_ID\d+$/u, ""), runtime_s: task.runtime_s },
      },
    })),
    edges: recording.tasks.flatMap((task) => task.children.map((child) => ({ from: task.id, to: child }))),
  };
}

/** JSON with one node or edge per line: small, and readable in a diff. */
function print(workflow: unknown): string {
  const lines = (list: unknown): string =>
    (list as unknown[]).map((entry) => `    ${JSON.stringify(entry)}`).join(",\n");
  const { name, metadata, nodes, edges } = workflow as Record<string, unknown>;
  const head = JSON.stringify({ name, metadata }, null, 2).replace(/\n\}$/u, "");
  return `${head},\n  "nodes": [\n${lines(nodes)}\n  ],\n  "edges": [\n${lines(edges)}\n  ]\n}\n`;
}

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  console.error("usage: npx tsx scripts/convert_wfcommons.ts IN OUT");
  process.exit(2);
}
const recording = Recording.parse(JSON.parse(readFileSync(from, "utf8")));
const faults = contradictions(recording.tasks);
if (faults.length > 0) {
  console.error(`${from} contradicts itself:\n  ${faults.join("\n  ")}`);
  process.exit(2);
}
const facts = factsOf(recording.tasks);
writeFileSync(to, print(workflowOf(basename(to, ".json"), recording, facts)));
console.log(JSON.stringify({ out: to, ...facts }));
