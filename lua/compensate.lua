#!lua flags=allow-oom
-- A run that is to end FAILED or CANCELLED first undoes what it did: hands out the compensation of its last completed execution that has one.
-- Called by the reader whenever the counter hit zero in such a run; repeating it changes nothing.
-- KEYS  1 meta · 2 journal · 3 run · then nudge and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, id, queues}
-- reply begun | idle | refused
-- Journal: w, naming the execution that was activated.
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
local run = open_run(KEYS[3], nil, call.id)
local last = run.exists and run.compensating and run.status == STATUS.running and run.counter == 0 and tonumber(get(run, RUN.compensations) or '0') or 0
if last == 0 then return commit({ word = 'idle' }) end
local node, scope, queue, origin = string.match(get(run, FIELD.compensation .. integer(last)), '^(%d+)|(.*)|(.-)|(%d+)$')
put(run, FIELD.compensation .. integer(last), false)
put(run, RUN.compensations, integer(last - 1))
put(run, RUN.undoing, node .. at_scope(scope))
put_active(run, FIELD.execution .. node .. at_scope(scope), call.call, 1, 1, '', { { tonumber(origin), 0 } })
run.counter = 1
run.changed = true
local step = new_step(call)
step.activated[1] = { tonumber(node), scope, { tonumber(origin) } }
step.queued[1] = { run = run, node = tonumber(node), scope = scope, attempt = 1, delivery = 1, nonce = call.call, queue = queue }
append_journal(meta, call, KEYS[2], { EVENT.settled, journal_record(step, run, run.events + 1, {}), 'd', '', 'o', '' })
write_run(run)
emit_queued(step)
return commit({ word = 'begun' })
