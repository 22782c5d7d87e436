/** Files that are shipped with the package. */
import { fileURLToPath } from "node:url";

const packageFile = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Folder of the package itself. */
export const PACKAGE = packageFile("");
/** Folder of example workflows and their handlers. */
export const EXAMPLES = packageFile("examples");
/** A recorded scientific workflow (test_data/README.md). */
export const MONTAGE = packageFile("test_data/montage.json");
