/** Runs that are not over: each has a row in `open_runs`, from the statement that accepts it to the one that gives it its final status. */

/** SQL: `insert`, a statement that inserts into `hitzero.runs`, which also opens the runs that it inserts. */
export function opened(insert: string): string {
  return `with accepted as (${insert} returning partition, run_id, submitted_at)
     insert into hitzero.open_runs (partition, run_id, submitted_at) select * from accepted`;
}
