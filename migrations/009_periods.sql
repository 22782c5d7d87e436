-- Runs and what is recorded of them are kept by time. A period is a range of the time in run_id; the rows of its runs are in tables of
-- their own, partitions of those that everybody names: `runs`, `node_executions`, `events_packed`, `blobs`, `run_statistics`.

-- Nobody submits, and no supervisor records, until this is committed.
lock table hitzero.runs in access exclusive mode;
do $$
declare
  open_runs bigint := (select count(*) from hitzero.open_runs);
begin
  if open_runs > 0 then
    raise exception using errcode = 'HZ001', message = format('it moves the rows of all runs, and %s of them %s not over', open_runs,
      case open_runs when 1 then 'is' else 'are' end);
  end if;
end $$;

-- What is there becomes the first period; its tables and indexes make room for the names.
do $$
declare
  kept text;
  index_name text;
begin
  foreach kept in array '{runs,node_executions,events_packed,blobs,run_statistics}'::text[] loop
    for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = ('hitzero.' || kept)::regclass loop
      execute format('alter index hitzero.%I rename to %I', index_name, 'before_' || index_name);
    end loop;
    execute format('alter table hitzero.%I rename to %I', kept, kept || '_before');
    execute format('create table hitzero.%1$I (like hitzero.%2$I including defaults including constraints including generated including storage
      including compression including comments) partition by range (run_id)', kept, kept || '_before');
    execute format('comment on table hitzero.%I is %L', kept, obj_description(('hitzero.' || kept || '_before')::regclass, 'pg_class'));
  end loop;
end $$;

alter table hitzero.runs add primary key (run_id);
create index runs_unsuccessful on hitzero.runs (unsuccessful, run_id desc) where unsuccessful is not null;
create index runs_by_workflow on hitzero.runs (workflow_name, run_id desc);
create index runs_by_parent on hitzero.runs (parent_run_id) where parent_run_id is not null;
alter table hitzero.node_executions add primary key (run_id, node_id, scope);
create index node_executions_failed on hitzero.node_executions (ended_at) where status = 'FAILED';
alter table hitzero.events_packed add primary key (run_id, last_seq);
create index events_packed_noted on hitzero.events_packed (run_id)
  where kinds && '{run_cancelling,run_timed_out,run_resumed,command,halted,buries}';
alter table hitzero.blobs add primary key (run_id, name);
alter table hitzero.run_statistics add primary key (run_id);

-- Views, and what roles may do.
do $$
declare
  viewed record;
  given record;
begin
  for viewed in select relname as name, pg_get_viewdef(oid) as text from pg_class where relnamespace = 'hitzero'::regnamespace and relkind = 'v' loop
    execute format('create or replace view hitzero.%I as %s', viewed.name,
      regexp_replace(viewed.text, '\m(runs|node_executions|events_packed|blobs|run_statistics)_before\M', '\1', 'g'));
  end loop;
  for given in
    select a.privilege_type as right, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role,
      left(c.relname, -length('_before')) as kept
    from pg_class c, aclexplode(c.relacl) a
    where c.relnamespace = 'hitzero'::regnamespace and c.relkind = 'r' and c.relname like '%\_before' and a.grantee <> c.relowner
      and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  loop
    execute format('grant %s on hitzero.%I to %s', given.right, given.kept, given.role);
  end loop;
end $$;

create view hitzero.v_periods as
  select parent.relname::text as table_name, part.relname::text as part,
    to_timestamp(('x' || bounds[1] || bounds[2])::bit(48)::bigint / 1000.0) as starts_at,
    to_timestamp(('x' || bounds[3] || bounds[4])::bit(48)::bigint / 1000.0) as ends_at,
    pg_get_expr(part.relpartbound, part.oid) = 'DEFAULT' as is_default, pg_total_relation_size(part.oid) as bytes
  from pg_class parent
  join pg_inherits on inhparent = parent.oid
  join pg_class part on part.oid = inhrelid
  left join lateral regexp_match(pg_get_expr(part.relpartbound, part.oid),
    'FROM \((?:MINVALUE|''(\w{8})-(\w{4})[\w-]*'')\) TO \(''(\w{8})-(\w{4})[\w-]*''\)') as bounds on true
  where parent.relkind = 'p' and parent.relnamespace = 'hitzero'::regnamespace;
comment on view hitzero.v_periods is 'The tables that hold the rows of runs of one time, with their bounds.';
comment on column hitzero.v_periods.table_name is 'The table of which it is a part.';
comment on column hitzero.v_periods.part is 'Its name.';
comment on column hitzero.v_periods.starts_at is 'Runs whose ids are of this time and later are in it; null: of all times before.';
comment on column hitzero.v_periods.ends_at is 'Runs whose ids are of this time or later are not.';
comment on column hitzero.v_periods.is_default is 'It holds what belongs to no period.';
comment on column hitzero.v_periods.bytes is 'With its indexes, bytes.';

create function hitzero.make_period(width_ms bigint, ahead int, most_moved int) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  names constant text[] := '{runs,node_executions,events_packed,blobs,run_statistics}';
  monday_ms constant bigint := 345600000;
  slack_ms constant bigint := 600000;
  now_ms bigint := extract(epoch from clock_timestamp()) * 1000;
  from_ms bigint;
  to_ms bigint;
  from_id uuid;
  to_id uuid;
  suffix text;
  columns text;
  settings text;
  strays bigint := 0;
  name text;
begin
  if width_ms < 60000 or ahead not between 1 and 100 or most_moved < 0 then
    raise exception using errcode = '22023', message = 'a period lasts a minute or longer, and 1 to 100 are made ahead';
  end if;
  width_ms := width_ms / 60000 * 60000;
  perform pg_advisory_xact_lock(hashtextextended('hitzero.make_period', 0));
  select extract(epoch from max(ends_at)) * 1000 into from_ms from hitzero.v_periods where table_name = 'runs';
  if from_ms >= now_ms + ahead * width_ms then
    return 'enough';
  end if;
  -- The first one begins a little earlier: clocks of those who submit may be behind.
  from_ms := coalesce(from_ms, (now_ms - slack_ms) / 60000 * 60000);
  to_ms := greatest(from_ms, now_ms) - (greatest(from_ms, now_ms) - monday_ms) % width_ms + width_ms;
  from_id := rpad(lpad(to_hex(from_ms), 12, '0'), 32, '0')::uuid;
  to_id := rpad(lpad(to_hex(to_ms), 12, '0'), 32, '0')::uuid;
  suffix := to_char(to_timestamp(from_ms / 1000.0) at time zone 'UTC', '"_"YYYYMMDD"_"HH24MI');
  foreach name in array names loop
    execute format('select %s + count(*) from (select from hitzero.%I where run_id >= %L and run_id < %L limit %s) as few',
      strays, name || '_default', from_id, to_id, most_moved + 1) into strays;
  end loop;
  if strays > most_moved then
    return 'crowded';
  end if;
  foreach name in array names loop
    execute format('create table hitzero.%I (like hitzero.%I including defaults including constraints including generated including storage
      including compression)', name || suffix, name);
    select array_to_string(reloptions, ', ') into settings from pg_class where oid = format('hitzero.%I', name || '_default')::regclass;
    if settings <> '' then
      execute format('alter table hitzero.%I set (%s)', name || suffix, settings);
    end if;
  end loop;
  -- A statement that was planned before would look for moved rows where they were: none may be under way.
  if strays > 0 then
    foreach name in array names loop
      execute format('lock table only hitzero.%I, only hitzero.%I in access exclusive mode', name, name || '_default');
    end loop;
  end if;
  foreach name in array names loop
    if strays > 0 then
      select string_agg(quote_ident(attname), ', ' order by attnum) into columns from pg_attribute
        where attrelid = format('hitzero.%I', name)::regclass and attnum > 0 and not attisdropped and attgenerated = '';
      execute format('with moved as (delete from hitzero.%1$I where run_id >= %3$L and run_id < %4$L returning %5$s)
        insert into hitzero.%2$I (%5$s) select %5$s from moved', name || '_default', name || suffix, from_id, to_id, columns);
    end if;
    execute format('alter table hitzero.%I attach partition hitzero.%I for values from (%L) to (%L)', name, name || suffix, from_id, to_id);
  end loop;
  return 'made';
end $$;
comment on function hitzero.make_period is 'Makes the next period unless so many are made ahead: made, enough, or crowded (too many rows of its time are in DEFAULT).';

-- The rows that are there become the period before all others; ids that are of no time by now (of child runs, so far) go to DEFAULT.
do $$
declare
  kept text;
  columns text;
  settings text;
  is_used boolean := exists (select from hitzero.runs_before) or exists (select from hitzero.node_executions_before)
    or exists (select from hitzero.events_packed_before) or exists (select from hitzero.blobs_before)
    or exists (select from hitzero.run_statistics_before);
  bound uuid := rpad(lpad(to_hex((extract(epoch from date_trunc('minute', clock_timestamp()) + interval '1 minute') * 1000)::bigint), 12, '0'),
    32, '0')::uuid;
begin
  foreach kept in array '{runs,node_executions,events_packed,blobs,run_statistics}'::text[] loop
    execute format('create table hitzero.%I partition of hitzero.%I default', kept || '_default', kept);
    select array_to_string(reloptions, ', ') into settings from pg_class where oid = format('hitzero.%I', kept || '_before')::regclass;
    if settings <> '' then
      execute format('alter table hitzero.%I set (%s)', kept || '_default', settings);
    end if;
    if not is_used then
      execute format('drop table hitzero.%I', kept || '_before');
      continue;
    end if;
    select string_agg(quote_ident(attname), ', ' order by attnum) into columns from pg_attribute
      where attrelid = format('hitzero.%I', kept)::regclass and attnum > 0 and not attisdropped and attgenerated = '';
    execute format('with strays as (delete from hitzero.%1$I where run_id >= %3$L returning %4$s)
      insert into hitzero.%2$I (%4$s) select %4$s from strays', kept || '_before', kept || '_default', bound, columns);
    execute format('alter table hitzero.%I attach partition hitzero.%I for values from (minvalue) to (%L)', kept, kept || '_before', bound);
  end loop;
end $$;
