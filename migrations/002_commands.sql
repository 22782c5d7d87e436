-- Commands that people give to runs: rows first, then applied once, in order.

create table hitzero.commands (
  command_seq bigint generated always as identity primary key,
  command_id uuid not null unique,
  run_id uuid not null,
  partition int not null,
  kind text not null check (kind in ('cancel', 'pause', 'resume')),
  issued_at timestamptz not null default now(),
  applied_at timestamptz,
  outcome text
);
create index commands_open on hitzero.commands (partition, command_seq) where applied_at is null;
create index commands_by_run on hitzero.commands (run_id, command_seq);
comment on table hitzero.commands is 'Commands to runs. A row is the promise that the command is applied once, or refused.';
comment on column hitzero.commands.command_seq is 'Order of the commands; a run applies each number once.';
comment on column hitzero.commands.command_id is 'Chosen by whoever gave the command: the same id again is the same command.';
comment on column hitzero.commands.run_id is 'The run.';
comment on column hitzero.commands.partition is 'Its partition.';
comment on column hitzero.commands.kind is 'cancel, pause or resume.';
comment on column hitzero.commands.issued_at is 'When it was accepted.';
comment on column hitzero.commands.applied_at is 'When its effect, or its refusal, was recorded; null: under way.';
comment on column hitzero.commands.outcome is 'applied, or why it was refused.';

create table hitzero.dead_letters (
  run_id uuid not null,
  node_id text not null,
  scope text not null,
  deliveries int not null,
  worker_id text,
  died_at timestamptz not null,
  resolution text check (resolution in ('redriven', 'discarded')),
  resolved_at timestamptz,
  redriven_as uuid,
  primary key (run_id, node_id, scope)
);
create index dead_letters_open on hitzero.dead_letters (died_at) where resolution is null;
comment on table hitzero.dead_letters is 'Executions whose token was handed out too often without an answer.';
comment on column hitzero.dead_letters.run_id is 'The run.';
comment on column hitzero.dead_letters.node_id is 'The node.';
comment on column hitzero.dead_letters.scope is 'Scope of the execution.';
comment on column hitzero.dead_letters.deliveries is 'How often it was handed out.';
comment on column hitzero.dead_letters.worker_id is 'Worker that put it aside.';
comment on column hitzero.dead_letters.died_at is 'When it was put aside.';
comment on column hitzero.dead_letters.resolution is 'redriven or discarded; null: nobody decided yet.';
comment on column hitzero.dead_letters.resolved_at is 'When somebody decided.';
comment on column hitzero.dead_letters.redriven_as is 'The new run that repeats the old one.';
