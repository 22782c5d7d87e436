/** Files that are shipped with the package. This file lies as deep as the bundle of the command line does. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const packageFile = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Folder of hitzero's own code: `src`, or `dist`. */
export const OWN_CODE = dirname(import.meta.dirname);
/** Folder of the package itself. */
export const PACKAGE = packageFile("");
/** Folder of example workflows and their handlers. */
export const EXAMPLES = packageFile("examples");
/** A recorded scientific workflow (test_data/README.md). */
export const MONTAGE = packageFile("test_data/montage.json");
