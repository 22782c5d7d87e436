export function fail(): never;
export function wait_for_file(context: { input: unknown }): Promise<{ waited: true }>;
