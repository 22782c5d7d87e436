/**
 * Nodes of an IR that no file names: they stand for a property of another node. Their ids hold a dot, which no id of a
 * file may.
 */

/** The body of a map with `workflow`. */
export function itemIdOf(mapId: string): string {
  return `${mapId}.item`;
}

/** What a node's `compensate_with` runs. */
export function compensationIdOf(id: string): string {
  return `${id}.compensate`;
}

export function isHiddenId(id: string): boolean {
  return id.includes(".");
}
