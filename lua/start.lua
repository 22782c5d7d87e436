#!lua
-- Starts one accepted run: its entry nodes get tokens. Refused on low memory (no allow-oom flag), after its deadline, and
-- when the run was ever started here before (its state or its tombstone stands).
-- KEYS  1 meta · 2 journal · 3 run · 4 tombstone · 5 IR · 6 timers · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, id, generation, digest, deadline, limit, limits, queues, permits, timeout_ms?,
--         paused?}: paused when its parent is: what it begins with is put aside
--       2 the run's input: j<JSON>
-- reply started | exists | gone | late | ir_missing | refused
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/run.lua
--@include lib/emit.lua
--@include lib/permits.lua
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

-- A call that was held up on its way carries a stale time of its own.
if clock() > call.deadline then return answer('late') end
if redis.call('EXISTS', KEYS[4]) == 1 then return answer('gone') end
if redis.call('EXISTS', KEYS[3]) == 1 then return answer('exists') end
if redis.call('HEXISTS', KEYS[5], 'complete') == 0 then return answer('ir_missing') end

call.take, call.worker, call.reads = 0, '', {}
local run = open_run(KEYS[3], KEYS[5], call.id)
run.digest, run.generation, run.events, run.status, run.permits = call.digest, integer(call.generation), 1, STATUS.running, call.permits
put(run, 'd', call.digest)
put(run, 'g', run.generation)
put(run, 'i', ARGV[2])
if run.permits > 0 then put(run, 'm', integer(run.permits)) end
if call.paused then
  run.paused, run.events = true, 2
  put(run, 'p', '1')
end
local step = new_step(call)
settle_and_count(step, run, { { 'root', '', 1, MODE.taken } })

append_journal(meta, call, KEYS[2], { EVENT.started, journal_record(step, run, 1, { paused = call.paused }) })
write_run(run)
emit_queued(step)
if call.timeout_ms then
  write('ZADD', KEYS[6], integer(clock() + call.timeout_ms), '!|time_out|' .. call.id .. '|' .. run.generation)
end
return answer('started')
