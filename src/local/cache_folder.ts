import { homedir } from "node:os";
import { join } from "node:path";

/** Where hitzero keeps what it fetched or copied for this user: HITZERO_CACHE, else `hitzero` in the user's cache folder. */
export function cacheFolder(): string {
  return (
    process.env.HITZERO_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "hitzero")
  );
}
