/** Writes schema/workflow.schema.json: `npx tsx scripts/generate_schema.ts`. A unit test fails when the file is stale. */
import { writeFileSync } from "node:fs";
import { workflowJsonSchemaText } from "../src/workflow/file/json_schema.ts";

writeFileSync(new URL("../schema/workflow.schema.json", import.meta.url), workflowJsonSchemaText());
