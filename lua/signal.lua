#!lua flags=allow-oom
-- Gives a signal to a run, once: to the execution that has waited longest for it (at the scope, if one is named), or keeps it for the next one.
-- KEYS  1 meta · 2 journal · 3 timers · 4 run · 5 IR · 6 parked · 7 scopes · 8 tombstone · then nudge and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, limit, limits, id, seq, name, nodes, scope?, transient, queues} · 2 payload (JSON)
-- reply applied | repeated | final | gone | unstarted | full | busy | ir_missing | refused
-- Journal: c; w, when it did other work of the run instead (busy).
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/state.lua
--@include lib/run.lua
--@include lib/emit.lua
--@include lib/permits.lua
--@include lib/rules.lua
--@include lib/settle.lua
--@include lib/waiting.lua
--@include lib/withdraw.lua
--@include lib/bodies.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
limits = call.limits
local function answer(reply) return commit({ word = reply }) end
call.take, call.worker, call.reads = 0, '', {}

local run = open_run(KEYS[4], KEYS[5], call.id)
run.parked_key, run.scopes_key = KEYS[6], KEYS[7]
if not run.exists then return answer(redis.call('EXISTS', KEYS[8]) == 1 and 'gone' or 'unstarted') end
if call.seq <= run.last_command then return answer('repeated') end
if run.status ~= STATUS.running or run.halted then return answer('final') end
if redis.call('HEXISTS', KEYS[5], ADJACENCY.complete) == 0 then return answer('ir_missing') end
local step = new_step(call)
local first_event = run.events + 1
if first_rest(run) then
  settle_and_count(step, run, {}, first_rest(run))
  append_journal(meta, call, KEYS[2], { EVENT.settled, journal_record(step, run, first_event, {}), 'd', '', 'o', '' })
  write_run(run)
  emit_queued(step)
  drop_timers(step, KEYS[3])
  return answer('busy')
end
run.events = first_event
local fate, waiter = give_signal(step, run, call.name, ARGV[2], call.scope, call.transient, call.nodes)
if fate == 'full' then return answer('full') end
if fate == 'busy' then
  run.events, run.changed = first_event - 1, true
  write_run(run)
  return answer('busy')
end
put(run, RUN.last_command, integer(call.seq))
ring()
settle_and_count(step, run, waiter and withdrawals_of_event(run, waiter.node, waiter.scope) or {})
append_journal(meta, call, KEYS[2], { EVENT.commanded, journal_record(step, run, first_event, { kind = 'signal', seq = call.seq, name = call.name,
  fate = fate, node = waiter and waiter.node or nil, scope = waiter and waiter.scope or nil }) })
write_run(run)
emit_queued(step)
drop_timers(step, KEYS[3])
return answer('applied')
