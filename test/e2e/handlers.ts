/** Handlers in TypeScript: the examples', and those that fail or wait for a file. */
export * from "../../examples/handlers.ts";
export { fail, wait_for_file } from "./handlers.mjs";
