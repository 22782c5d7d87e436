/** The JSON Schema of the workflow file, made from the schema that checks it. */
import { z } from "zod";
import { WorkflowSchema } from "./schema.ts";

/** Text of `schema/workflow.schema.json` (draft 7, which editors read). */
export function workflowJsonSchemaText(): string {
  const schema = z.toJSONSchema(WorkflowSchema, {
    target: "draft-7",
    io: "input",
    unrepresentable: "any",
    override: ({ jsonSchema, path }) => {
      const [list, items, ...rest] = path.slice(-3);
      if (list === "body" && items === "properties" && (rest[0] === "nodes" || rest[0] === "edges"))
        jsonSchema.items = { $ref: `#/properties/${rest[0]}/items` };
    },
  });
  return `${JSON.stringify({ title: "hitzero workflow", ...schema }, null, 2)}\n`;
}
