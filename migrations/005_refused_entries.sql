-- What the recorder could not write: set aside, so that its partition goes on.

create table hitzero.refused_entries (
  refused_id bigint generated always as identity primary key,
  partition int not null,
  epoch bigint not null,
  seq bigint,
  run_id uuid,
  node_id text,
  scope text,
  code text not null,
  reason text not null,
  raw text not null,
  later_events int not null default 0,
  at timestamptz not null default now()
);
create index refused_entries_by_run on hitzero.refused_entries (run_id);
create index refused_entries_by_time on hitzero.refused_entries (at);
comment on table hitzero.refused_entries is 'Events of the journal, and calls, that could not be recorded or applied. The run of each ended as FAILED.';
comment on column hitzero.refused_entries.refused_id is 'Number of the row.';
comment on column hitzero.refused_entries.partition is 'Partition whose reader set it aside.';
comment on column hitzero.refused_entries.epoch is 'Epoch of the journal.';
comment on column hitzero.refused_entries.seq is 'Number of the journal entry; null: it was no entry but a call that a script refuses.';
comment on column hitzero.refused_entries.run_id is 'The run, as far as the event tells.';
comment on column hitzero.refused_entries.node_id is 'The node, as far as the event tells.';
comment on column hitzero.refused_entries.scope is 'Scope of the execution, as far as the event tells.';
comment on column hitzero.refused_entries.code is 'What the run''s error says: RECORD_REFUSED, or STEP_REFUSED for a call.';
comment on column hitzero.refused_entries.reason is 'Why it was refused: SQLSTATE or kind of error, and its message.';
comment on column hitzero.refused_entries.raw is 'The event''s fields as JSON, or the call in words; the first million characters.';
comment on column hitzero.refused_entries.later_events is 'Events of the run that came after it, and were not recorded either.';
comment on column hitzero.refused_entries.at is 'When it was set aside.';

alter table hitzero.partitions add column last_refusal text;
comment on column hitzero.partitions.last_refusal is 'What of the journal was set aside last (refused_entries has all of it), and why; null: nothing ever.';

alter table hitzero.commands drop constraint commands_kind_check;
alter table hitzero.commands add constraint commands_kind_check check (kind in ('cancel', 'pause', 'resume', 'signal', 'fail'));
comment on column hitzero.commands.kind is
  'cancel, pause, resume or signal; fail: a worker met a step of the run that the scripts refuse (payload: its error).';
