#!lua flags=allow-oom
-- Wakes an execution that waits for its child run. Repeating it changes nothing.
-- KEYS  1 meta · 2 journal · 3 timers · 4 run · 5 IR · 6 parked · 7 scopes · then nudge and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, limit, limits, id, node, scope, queue, queues} · 2 how the child ended (JSON)
-- reply woken | stale | busy (to be called again: it did other work of the run) | ir_missing | refused
-- Journal: w, when its run is halted and it is withdrawn, or it did other work.
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
if not run.exists or run.status ~= STATUS.running or get(run, FIELD.waits .. call.node .. at_scope(call.scope)) ~= PARK.child then return answer('stale') end
if redis.call('HEXISTS', KEYS[5], ADJACENCY.complete) == 0 then return answer('ir_missing') end
if not is_alive(run, call.scope, call.node) then return answer('stale') end
local step = new_step(call)
local first_event = run.events + 1
local is_busy = first_rest(run)
if is_busy then
  settle_and_count(step, run, {}, is_busy)
elseif is_stopping(run) then
  withdraw(step, run, call.node, call.scope)
  settle_and_count(step, run, {})
else
  wake(step, run, call.node, call.scope, call.queue, WOKEN.child .. ARGV[2])
end
if is_busy or run.events >= first_event then
  append_journal(meta, call, KEYS[2], { EVENT.settled, journal_record(step, run, first_event, {}), 'd', '', 'o', '' })
end
write_run(run)
emit_queued(step)
drop_timers(step, KEYS[3])
return answer(is_busy and 'busy' or 'woken')
