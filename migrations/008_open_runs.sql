-- Runs that are not over have a row in a small table, so that a change of status touches no index of `runs`; and a completed execution's event is
-- kept by what differs from others.

-- Nobody submits, and no supervisor records, until this is committed.
lock table hitzero.runs in share row exclusive mode;

create table hitzero.open_runs (
  run_id uuid primary key,
  partition int not null,
  submitted_at timestamptz not null default now(),
  started_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
comment on table hitzero.open_runs is 'Runs that are not over: a row from acceptance to the final status.';
comment on column hitzero.open_runs.partition is 'Partition that holds the run.';
comment on column hitzero.open_runs.run_id is 'The run.';
comment on column hitzero.open_runs.submitted_at is 'When it was accepted.';
comment on column hitzero.open_runs.started_at is 'When its first tokens were made; null: it is PENDING.';
insert into hitzero.open_runs (partition, run_id, submitted_at, started_at)
select partition, run_id, submitted_at, started_at from hitzero.runs where status in ('PENDING', 'RUNNING', 'PAUSED');

-- An update that changes no indexed column stays within its page, where there is room (HOT), and writes no index.
drop index hitzero.runs_pending;
drop index hitzero.runs_by_status;
alter table hitzero.runs set (fillfactor = 50);
alter table hitzero.runs add column unsuccessful text
  generated always as (case when status in ('FAILED', 'CANCELLED') then status end) stored;
comment on column hitzero.runs.unsuccessful is 'FAILED or CANCELLED, as status has it; null in all others: has an index, which status cannot have.';
create index runs_unsuccessful on hitzero.runs (unsuccessful, run_id desc) where unsuccessful is not null;

create or replace view hitzero.v_active_runs as
  select r.run_id, r.workflow_name, r.workflow_version, r.status, r.partition, r.submitted_at, r.started_at, now() - r.submitted_at as age
  from hitzero.open_runs o join hitzero.runs r using (run_id);

-- What happens most often is kept short: a run started [at, journal, activated], or completed [at, journal]; an execution completed in its first
-- attempt and delivery [at, journal, node_id, scope, duration_ms, arrivals, activated].
comment on column hitzero.events_packed.kinds is
  'What is looked for among these events: types run_cancelling, run_timed_out, run_resumed; and keys command, halted, buries of their data.';
comment on column hitzero.events_packed.events is
  'JSON: a list of [level, event_type, node_id, scope, at (ms since 1970), message, data], in order of their numbers; those that begin with a number are short forms, of 2, 3 or 7 values.';
create or replace view hitzero.event_log as
  select p.run_id, p.first_seq + e.place - 1 as seq,
    case form.size when 0 then e.event ->> 0 else 'INFO' end as level,
    case form.size when 7 then 'node_completed' when 3 then 'run_started' when 2 then 'run_completed' else e.event ->> 1 end as event_type,
    case when form.size in (0, 7) then e.event ->> 2 end as node_id,
    case when form.size in (0, 7) then e.event ->> 3 end as scope,
    to_timestamp((e.event ->> case form.size when 0 then 4 else 0 end)::double precision / 1000) as at,
    case form.size when 7 then (e.event ->> 2) || ' completed in ' || (e.event ->> 4) || ' ms' when 3 then 'the run started'
      when 2 then 'the run completed' else e.event ->> 5 end as message,
    case form.size
      when 7 then jsonb_build_object('journal', e.event -> 1, 'attempt', 1, 'delivery', 1, 'arrivals', e.event -> 5, 'activated', e.event -> 6)
      when 3 then jsonb_build_object('journal', e.event -> 1, 'activated', e.event -> 2)
      when 2 then jsonb_build_object('journal', e.event -> 1)
      else nullif(e.event -> 6, 'null') end as data
  from hitzero.events_packed p
  cross join lateral jsonb_array_elements(p.events::jsonb) with ordinality as e (event, place)
  cross join lateral (
    select case jsonb_typeof(e.event -> 0) when 'number' then jsonb_array_length(e.event) else 0 end as size) form;

-- Roles may do with the new table what they might with the runs.
do $$
declare
  given record;
begin
  for given in
    select a.privilege_type as right, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'hitzero.runs'::regclass and a.grantee <> c.relowner
      and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  loop
    execute format('grant %s on hitzero.open_runs to %s', given.right, given.role);
    -- Whoever ends a run takes its row away.
    if given.right = 'UPDATE' then
      execute format('grant delete on hitzero.open_runs to %s', given.role);
    end if;
  end loop;
end $$;
