-- Child runs, signals, and executions that wait.

alter table hitzero.runs add column parent_node_id text, add column parent_scope text, add column depth int not null default 0;
create index runs_by_parent on hitzero.runs (parent_run_id) where parent_run_id is not null;
comment on column hitzero.runs.parent_node_id is 'Of a child run: the sub-workflow node that waits for it; null: the run was made from its parent (redriven).';
comment on column hitzero.runs.parent_scope is 'Scope of the execution that waits for it.';
comment on column hitzero.runs.depth is 'Runs above a child run; 0: submitted by itself.';

alter table hitzero.node_executions add column child_run_id uuid;
comment on column hitzero.node_executions.child_run_id is 'Run of a sub-workflow node.';
comment on column hitzero.node_executions.reason is
  'Why it was SKIPPED (not_taken, upstream_failed: NODE, unless: NODE) or CANCELLED (run_halted, withdrawn: NODE), or what it is WAITING for.';

alter table hitzero.commands drop constraint commands_kind_check;
alter table hitzero.commands add constraint commands_kind_check check (kind in ('cancel', 'pause', 'resume', 'signal'));
alter table hitzero.commands add column signal_name text, add column scope text, add column payload jsonb, add column issued_by text;
comment on column hitzero.commands.kind is 'cancel, pause, resume or signal.';
comment on column hitzero.commands.signal_name is 'Name of a signal.';
comment on column hitzero.commands.scope is 'Scope of the execution that the signal is for; null: whoever has waited longest.';
comment on column hitzero.commands.payload is 'What the signal brings.';
comment on column hitzero.commands.issued_by is 'Who gave the command, as far as was said.';

create view hitzero.v_loop_state as
  select e.run_id, substring(e.scope from '^(.*?)/?[^/]+$') as outer_scope, substring(e.scope from '([^/:]+):\d+$') as node_id,
    max(substring(e.scope from ':(\d+)$')::int) as last_number, count(distinct e.scope) as scopes,
    max(e.ended_at) as last_ended_at
  from hitzero.node_executions e where e.scope <> '' group by 1, 2, 3;
comment on view hitzero.v_loop_state is 'Loops and maps: how far each got.';
comment on column hitzero.v_loop_state.run_id is 'The run.';
comment on column hitzero.v_loop_state.outer_scope is 'Scope of the loop or map itself.';
comment on column hitzero.v_loop_state.node_id is 'The loop or map node.';
comment on column hitzero.v_loop_state.last_number is 'Last iteration (from 1) or item (from 0) on record.';
comment on column hitzero.v_loop_state.scopes is 'Iterations or items on record.';
comment on column hitzero.v_loop_state.last_ended_at is 'When its last execution ended.';
