#!lua flags=allow-oom
-- Applies one command to a run, once: cancel, pause, resume, time_out (its own limit), or stuck (nothing of it is in reach). What it means for executions that wait is
-- `sweep`'s; those in flight hear of it from their workers.
-- KEYS  1 meta · 2 journal · 3 run · 4 tombstone · 5 nudge
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, id, seq, kind, g?}: seq orders a run's commands; 0 for time_out and stuck;
--         g: only of a run of this generation, as a time limit is
-- reply applied | repeated | paused (it is already) | not_paused | final | gone | unstarted | stale | refused
-- Journal: c.
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/state.lua
--@include lib/run.lua
--@include lib/emit.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local function answer(reply) return commit({ word = reply }) end
local function journal(step, run, event)
  ring()
  append_journal(meta, call, KEYS[2], { EVENT.commanded, journal_record(step, run, event, { kind = call.kind, seq = call.seq }) })
end

local run = open_run(KEYS[3], nil, call.id)
local step = new_step(call)
if not run.exists then
  local tombstone = redis.call('GET', KEYS[4])
  if tombstone == 'cancel ' .. integer(call.seq) then return answer('repeated') end
  if tombstone then return answer('gone') end
  if call.kind ~= 'cancel' then return answer('unstarted') end
  -- It never starts: the tombstone refuses every start that may still be on its way, and stands until the end of the run is on record.
  write('SET', KEYS[4], 'cancel ' .. integer(call.seq))
  run.generation, step.zero, step.halted = '1', STATUS.cancelled, 'cancel'
  journal(step, run, 1)
  return answer('applied')
end
if call.g and run.generation ~= integer(call.g) then return answer('stale') end
if call.seq > 0 and call.seq <= run.last_command then return answer('repeated') end
-- A halted run is not paused, and what undoes a run's work is not commanded.
if run.status ~= STATUS.running or run.compensating or (run.halted and call.kind == 'pause') then return answer('final') end
if call.kind == 'pause' and run.paused then return answer('paused') end
if call.kind == 'resume' and not run.paused then return answer('not_paused') end
run.events = run.events + 1
local event = run.events
if call.kind == 'pause' then
  run.paused = true
  put(run, RUN.paused, '1')
elseif call.kind == 'resume' then
  run.paused = false
  put(run, RUN.paused, '0')
else
  -- Cancelling ends a pause: CANCELLED is the one final status that a paused run may reach.
  run.paused = false
  put(run, RUN.paused, '0')
  run.halted = run.halted or call.kind
  step.halted = run.halted
end
-- Nothing is left that could count it down.
if call.kind == 'stuck' then run.counter = 0 end
if call.seq > 0 then put(run, RUN.last_command, integer(call.seq)) end
test_zero(step, run)
write_run(run)
journal(step, run, event)
return answer('applied')
