-- Intent (runs accepted), history (executions, events) and final statuses. Position lives in Redis.

create table hitzero.partitions (
  partition int primary key,
  epoch bigint not null default 0,
  timeline text,
  recorded_seq bigint not null default 0,
  recorded_call text not null default '',
  term bigint not null default 0,
  reader_id text,
  lease_expires_at timestamptz not null default '-infinity',
  opened_at timestamptz,
  closed_reason text
);
comment on table hitzero.partitions is 'Slices of runs. One row each; their number is fixed by the first migrate.';
comment on column hitzero.partitions.partition is 'Number of the partition, from 0.';
comment on column hitzero.partitions.epoch is 'Raised each time the partition gets a fresh journal; 0: never opened.';
comment on column hitzero.partitions.timeline is 'Identity of the Redis server (run_id:master_replid) to which the partition was last opened.';
comment on column hitzero.partitions.recorded_seq is 'Number of the last journal entry of this epoch that is recorded here.';
comment on column hitzero.partitions.recorded_call is 'Nonce of that entry: the same number with another nonce means that Redis lost history.';
comment on column hitzero.partitions.term is 'Raised each time another reader takes the lease; a reader of an older term cannot write.';
comment on column hitzero.partitions.reader_id is 'Supervisor that holds the lease.';
comment on column hitzero.partitions.lease_expires_at is 'End of the lease by the clock of this server.';
comment on column hitzero.partitions.opened_at is 'When the partition was last opened.';
comment on column hitzero.partitions.closed_reason is 'Why the partition cannot be opened; null when nothing is wrong.';

create table hitzero.workflows (
  workflow_name text primary key,
  active_version int,
  created_at timestamptz not null default now()
);
comment on table hitzero.workflows is 'Named workflows.';
comment on column hitzero.workflows.workflow_name is 'The name in the workflow file.';
comment on column hitzero.workflows.active_version is 'Version that a submit by name runs; null: none was activated.';
comment on column hitzero.workflows.created_at is 'When the first version was registered.';

create table hitzero.workflow_versions (
  workflow_name text not null references hitzero.workflows,
  version int not null,
  ir_digest text not null,
  definition json not null,
  ir json not null,
  created_at timestamptz not null default now(),
  primary key (workflow_name, version),
  unique (workflow_name, ir_digest)
);
create index workflow_versions_by_digest on hitzero.workflow_versions (ir_digest);
comment on table hitzero.workflow_versions is 'Immutable versions of workflows, each definition stored once.';
comment on column hitzero.workflow_versions.workflow_name is 'The workflow.';
comment on column hitzero.workflow_versions.version is 'Number of the version, from 1.';
comment on column hitzero.workflow_versions.ir_digest is 'SHA-256 (hex) of the canonical JSON of the compiled form.';
comment on column hitzero.workflow_versions.definition is 'The workflow file as it was submitted.';
comment on column hitzero.workflow_versions.ir is 'The compiled form.';
comment on column hitzero.workflow_versions.created_at is 'When this version was first seen.';

create table hitzero.runs (
  run_id uuid primary key,
  partition int not null,
  workflow_name text not null,
  workflow_version int not null,
  ir_digest text not null,
  status text not null default 'PENDING'
    check (status in ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
  generation int not null default 1,
  input jsonb,
  output jsonb,
  error jsonb,
  tags text[] not null default '{}',
  idempotency_key text,
  parent_run_id uuid,
  submitted_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz
);
create index runs_pending on hitzero.runs (partition, submitted_at) where status = 'PENDING';
create index runs_by_status on hitzero.runs (status, run_id desc);
create index runs_by_workflow on hitzero.runs (workflow_name, run_id desc);
comment on table hitzero.runs is 'Executions of workflows. A row is the promise that the run reaches a final status.';
comment on column hitzero.runs.run_id is 'UUID version 7: sorts by time of submission.';
comment on column hitzero.runs.partition is 'Partition that holds the run.';
comment on column hitzero.runs.workflow_name is 'The workflow.';
comment on column hitzero.runs.workflow_version is 'Its version.';
comment on column hitzero.runs.ir_digest is 'Digest of the compiled form that runs.';
comment on column hitzero.runs.status is 'PENDING (accepted), RUNNING, PAUSED, or final: COMPLETED, FAILED, CANCELLED.';
comment on column hitzero.runs.generation is 'Raised when the run is rebuilt in Redis; tokens of an older generation are stale.';
comment on column hitzero.runs.input is 'Input of the run.';
comment on column hitzero.runs.output is 'Output of a COMPLETED run: the workflow''s output expression, else the outputs of the terminal nodes.';
comment on column hitzero.runs.error is 'Why the run FAILED: {code, message, node_id}.';
comment on column hitzero.runs.tags is 'Free tags given at submission.';
comment on column hitzero.runs.idempotency_key is 'Key given at submission, if any.';
comment on column hitzero.runs.parent_run_id is 'The run that this one belongs to or was made from.';
comment on column hitzero.runs.submitted_at is 'When the run was accepted.';
comment on column hitzero.runs.started_at is 'When its first tokens were made.';
comment on column hitzero.runs.completed_at is 'When its counter hit zero.';

create table hitzero.idempotency_keys (
  idempotency_key text primary key,
  input_digest text not null,
  run_id uuid not null,
  created_at timestamptz not null default now()
);
comment on table hitzero.idempotency_keys is 'Submissions that carried a key: the same key again answers the same run.';
comment on column hitzero.idempotency_keys.idempotency_key is 'The key.';
comment on column hitzero.idempotency_keys.input_digest is 'SHA-256 of workflow digest and input: the same key with others is refused.';
comment on column hitzero.idempotency_keys.run_id is 'The run that the key made.';
comment on column hitzero.idempotency_keys.created_at is 'When the key was first used.';

create table hitzero.node_executions (
  run_id uuid not null,
  node_id text not null,
  scope text not null default '',
  attempt int not null,
  retry_count int not null default 0,
  status text not null
    check (status in ('PENDING', 'RUNNING', 'WAITING', 'RETRYING', 'COMPLETED', 'FAILED', 'SKIPPED', 'CANCELLED')),
  reason text,
  worker_id text,
  started_at timestamptz,
  ended_at timestamptz,
  duration_ms double precision generated always as (extract(epoch from (ended_at - started_at)) * 1000) stored,
  output jsonb,
  output_blob text,
  error jsonb,
  from_nodes text[] not null default '{}',
  primary key (run_id, node_id, scope)
);
create index node_executions_failed on hitzero.node_executions (ended_at) where status = 'FAILED';
comment on table hitzero.node_executions is 'One row for each execution of a node; tries are in event_log.';
comment on column hitzero.node_executions.run_id is 'The run.';
comment on column hitzero.node_executions.node_id is 'The node''s id in the workflow file.';
comment on column hitzero.node_executions.scope is 'Path of loop iterations and map items; empty outside them.';
comment on column hitzero.node_executions.attempt is 'Tries of the handler, from 1; 0: never tried (skipped).';
comment on column hitzero.node_executions.retry_count is 'Tries after the first.';
comment on column hitzero.node_executions.status is 'RUNNING is recorded for executions that last longer than a moment; outcomes always.';
comment on column hitzero.node_executions.reason is 'Why it was SKIPPED: not_taken, or upstream_failed: NODE.';
comment on column hitzero.node_executions.worker_id is 'Worker that performed it.';
comment on column hitzero.node_executions.started_at is 'When the handler began, by the worker''s estimate of the clock of Redis.';
comment on column hitzero.node_executions.ended_at is 'When it ended, or was skipped.';
comment on column hitzero.node_executions.duration_ms is 'From started_at to ended_at, milliseconds.';
comment on column hitzero.node_executions.output is 'Its output; null when it is large (output_blob) or there is none.';
comment on column hitzero.node_executions.output_blob is 'Name of the large output in blobs.';
comment on column hitzero.node_executions.error is 'Why it FAILED: {code, message, stack, attempt, worker}.';
comment on column hitzero.node_executions.from_nodes is 'Predecessors whose arrivals it ran on.';

create table hitzero.blobs (
  run_id uuid not null,
  name text not null,
  node_id text not null,
  scope text not null,
  bytes int not null,
  content jsonb not null,
  primary key (run_id, name)
);
comment on table hitzero.blobs is 'Outputs too large to travel inline.';
comment on column hitzero.blobs.run_id is 'The run.';
comment on column hitzero.blobs.name is 'Name of the blob in its run.';
comment on column hitzero.blobs.node_id is 'Node that made it.';
comment on column hitzero.blobs.scope is 'Scope of the execution.';
comment on column hitzero.blobs.bytes is 'Size of the JSON text, bytes.';
comment on column hitzero.blobs.content is 'The output.';

create table hitzero.event_log (
  run_id uuid not null,
  seq bigint not null,
  level text not null check (level in ('DEBUG', 'INFO', 'WARN', 'ERROR')),
  event_type text not null,
  node_id text,
  scope text,
  at timestamptz not null,
  message text not null,
  data jsonb,
  primary key (run_id, seq)
);
comment on table hitzero.event_log is 'The journal as recorded: what happened to each run, in order.';
comment on column hitzero.event_log.run_id is 'The run.';
comment on column hitzero.event_log.seq is 'Number of the event in its run, from 1, without gaps.';
comment on column hitzero.event_log.level is 'DEBUG, INFO, WARN or ERROR.';
comment on column hitzero.event_log.event_type is 'run_started, node_completed, node_failed, node_skipped, run_completed, run_failed.';
comment on column hitzero.event_log.node_id is 'The node, for events of nodes.';
comment on column hitzero.event_log.scope is 'Scope of the execution, for events of nodes.';
comment on column hitzero.event_log.at is 'When it happened.';
comment on column hitzero.event_log.message is 'The event in words.';
comment on column hitzero.event_log.data is 'What was decided: edges taken, executions activated with the arrivals they used, journal number.';

create table hitzero.run_statistics (
  run_id uuid primary key,
  executions int not null,
  completed int not null,
  failed int not null,
  skipped int not null,
  handler_ms double precision not null,
  wall_ms double precision not null,
  completion_checks_saved int not null
);
comment on table hitzero.run_statistics is 'Totals of each finished run.';
comment on column hitzero.run_statistics.run_id is 'The run.';
comment on column hitzero.run_statistics.executions is 'Node executions recorded.';
comment on column hitzero.run_statistics.completed is 'Of these, COMPLETED.';
comment on column hitzero.run_statistics.failed is 'Of these, FAILED.';
comment on column hitzero.run_statistics.skipped is 'Of these, SKIPPED.';
comment on column hitzero.run_statistics.handler_ms is 'Sum of the handlers'' durations, milliseconds.';
comment on column hitzero.run_statistics.wall_ms is 'From start to zero-hit, milliseconds.';
comment on column hitzero.run_statistics.completion_checks_saved is 'Calls that an engine asking for completion after each execution would have made: the step''s own script knew.';

create table hitzero.worker_registry (
  worker_id text primary key,
  kind text not null check (kind in ('worker', 'supervisor')),
  host text not null,
  pid int not null,
  version text not null,
  queues text[] not null default '{}',
  functions text[] not null default '{}',
  concurrency int,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  stopped_at timestamptz
);
comment on table hitzero.worker_registry is 'Processes that serve this installation.';
comment on column hitzero.worker_registry.worker_id is 'Name of the process, unique for ever.';
comment on column hitzero.worker_registry.kind is 'worker or supervisor.';
comment on column hitzero.worker_registry.host is 'Host name.';
comment on column hitzero.worker_registry.pid is 'Process id on that host.';
comment on column hitzero.worker_registry.version is 'Release of hitzero.';
comment on column hitzero.worker_registry.queues is 'Queues that the worker reads.';
comment on column hitzero.worker_registry.functions is 'Handlers that the worker offers.';
comment on column hitzero.worker_registry.concurrency is 'Executions that it performs at once.';
comment on column hitzero.worker_registry.started_at is 'When it started.';
comment on column hitzero.worker_registry.heartbeat_at is 'When it last said that it lives.';
comment on column hitzero.worker_registry.stopped_at is 'When it stopped in order; null: runs, or died.';

create view hitzero.v_active_runs as
  select run_id, workflow_name, workflow_version, status, partition, submitted_at, started_at, now() - submitted_at as age
  from hitzero.runs where status in ('PENDING', 'RUNNING', 'PAUSED');
comment on view hitzero.v_active_runs is 'Runs without a final status.';
comment on column hitzero.v_active_runs.run_id is 'The run.';
comment on column hitzero.v_active_runs.workflow_name is 'The workflow.';
comment on column hitzero.v_active_runs.workflow_version is 'Its version.';
comment on column hitzero.v_active_runs.status is 'PENDING, RUNNING or PAUSED.';
comment on column hitzero.v_active_runs.partition is 'Partition that holds the run.';
comment on column hitzero.v_active_runs.submitted_at is 'When it was accepted.';
comment on column hitzero.v_active_runs.started_at is 'When it started.';
comment on column hitzero.v_active_runs.age is 'Time since it was accepted.';

create view hitzero.v_failed_executions as
  select e.run_id, r.workflow_name, e.node_id, e.scope, e.attempt, e.worker_id, e.ended_at,
    e.error ->> 'code' as code, e.error ->> 'message' as message
  from hitzero.node_executions e join hitzero.runs r using (run_id) where e.status = 'FAILED';
comment on view hitzero.v_failed_executions is 'Executions that FAILED, with code and message.';
comment on column hitzero.v_failed_executions.run_id is 'The run.';
comment on column hitzero.v_failed_executions.workflow_name is 'The workflow.';
comment on column hitzero.v_failed_executions.node_id is 'The node.';
comment on column hitzero.v_failed_executions.scope is 'Scope of the execution.';
comment on column hitzero.v_failed_executions.attempt is 'Tries of the handler.';
comment on column hitzero.v_failed_executions.worker_id is 'Worker of the last try.';
comment on column hitzero.v_failed_executions.ended_at is 'When it failed.';
comment on column hitzero.v_failed_executions.code is 'Code of the error.';
comment on column hitzero.v_failed_executions.message is 'Message of the error.';

create view hitzero.v_run_timeline as
  select run_id, node_id, scope, status, started_at, ended_at, duration_ms, worker_id, reason, from_nodes
  from hitzero.node_executions order by run_id, coalesce(started_at, ended_at), ended_at;
comment on view hitzero.v_run_timeline is 'Executions of each run in order of time.';
comment on column hitzero.v_run_timeline.run_id is 'The run.';
comment on column hitzero.v_run_timeline.node_id is 'The node.';
comment on column hitzero.v_run_timeline.scope is 'Scope of the execution.';
comment on column hitzero.v_run_timeline.status is 'Status of the execution.';
comment on column hitzero.v_run_timeline.started_at is 'When the handler began.';
comment on column hitzero.v_run_timeline.ended_at is 'When it ended.';
comment on column hitzero.v_run_timeline.duration_ms is 'Milliseconds between the two.';
comment on column hitzero.v_run_timeline.worker_id is 'Worker that performed it.';
comment on column hitzero.v_run_timeline.reason is 'Why it was skipped.';
comment on column hitzero.v_run_timeline.from_nodes is 'Predecessors whose arrivals it ran on.';
