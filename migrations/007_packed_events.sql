-- Events are packed: one row for each run and batch of the recorder. `event_log` shows them one by one, as it did before.

-- Nobody submits, and no supervisor records, until this is committed.
lock table hitzero.runs in share row exclusive mode;
do $$
declare
  open_runs bigint := (select count(*) from hitzero.runs where status in ('PENDING', 'RUNNING', 'PAUSED'));
begin
  if open_runs > 0 then
    raise exception using errcode = 'HZ001', message = format('it moves the events of all runs, and %s of them %s not over', open_runs,
      case open_runs when 1 then 'is' else 'are' end);
  end if;
end $$;

alter table hitzero.event_log rename to event_log_before;

create table hitzero.events_packed (
  run_id uuid not null,
  first_seq bigint not null,
  last_seq bigint not null,
  last_at timestamptz not null,
  kinds text[] not null,
  events text not null,
  primary key (run_id, last_seq)
);
create index events_packed_noted on hitzero.events_packed (run_id)
  where kinds && '{run_cancelling,run_timed_out,run_resumed,command,halted,buries}';
comment on table hitzero.events_packed is 'Events as they are kept: those of one run in one batch of the recorder. Read event_log instead.';
comment on column hitzero.events_packed.run_id is 'The run.';
comment on column hitzero.events_packed.first_seq is 'Number of the first event of the row in its run.';
comment on column hitzero.events_packed.last_seq is 'Number of the last one; those between are here, too.';
comment on column hitzero.events_packed.last_at is 'When the last one happened.';
comment on column hitzero.events_packed.kinds is
  'Types of these events; also command, halted and buries when the data of one has such a key.';
comment on column hitzero.events_packed.events is
  'JSON: a list of [level, event_type, node_id, scope, at (ms since 1970), message, data], in order of their numbers.';

with texts as (
  select *, json_build_array(level, event_type, node_id, scope, extract(epoch from at) * 1000, message, data)::text as event
  from hitzero.event_log_before
), cut as (
  select *, seq - row_number() over in_order as island, sum(octet_length(event)) over in_order / 32768 as part,
    row_number() over in_order / 1000 as thousand, octet_length(event) > 32768 as is_large
  from texts window in_order as (partition by run_id order by seq)
)
insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
select run_id, min(seq), max(seq), (array_agg(at order by seq desc))[1],
  array_agg(distinct event_type)
    || case when bool_or(data ? 'command') then '{command}' else '{}' end::text[]
    || case when bool_or(data ? 'halted') then '{halted}' else '{}' end::text[]
    || case when bool_or(data ? 'buries') then '{buries}' else '{}' end::text[],
  '[' || string_agg(event, ',' order by seq) || ']'
from cut group by run_id, island, part, thousand, is_large;

create view hitzero.event_log as
  select p.run_id, p.first_seq + e.place - 1 as seq, e.event ->> 0 as level, e.event ->> 1 as event_type, e.event ->> 2 as node_id,
    e.event ->> 3 as scope, to_timestamp((e.event ->> 4)::double precision / 1000) as at, e.event ->> 5 as message,
    nullif(e.event -> 6, 'null') as data
  from hitzero.events_packed p
  cross join lateral jsonb_array_elements(p.events::jsonb) with ordinality as e (event, place);
comment on view hitzero.event_log is 'The journal as recorded: what happened to each run, in order.';
comment on column hitzero.event_log.run_id is 'The run.';
comment on column hitzero.event_log.seq is 'Number of the event in its run, from 1, without gaps.';
comment on column hitzero.event_log.level is 'DEBUG, INFO, WARN or ERROR.';
comment on column hitzero.event_log.event_type is 'run_started, node_completed, node_failed, node_skipped, run_completed, run_failed.';
comment on column hitzero.event_log.node_id is 'The node, for events of nodes.';
comment on column hitzero.event_log.scope is 'Scope of the execution, for events of nodes.';
comment on column hitzero.event_log.at is 'When it happened.';
comment on column hitzero.event_log.message is 'The event in words.';
comment on column hitzero.event_log.data is 'What was decided: edges taken, executions activated with the arrivals they used, journal number.';

-- Roles may do with the new table what they might with the old one, and read the view.
do $$
declare
  given record;
begin
  for given in
    select a.privilege_type as right, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'hitzero.event_log_before'::regclass and a.grantee <> c.relowner
      and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  loop
    execute format('grant %s on hitzero.events_packed to %s', given.right, given.role);
    if given.right = 'SELECT' then
      execute format('grant select on hitzero.event_log to %s', given.role);
    end if;
  end loop;
end $$;
drop table hitzero.event_log_before;
