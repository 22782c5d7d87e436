#!lua flags=allow-oom
-- Tells the record of executions that last longer than a moment. Changes no state.
-- KEYS  1 meta · 2 journal · then runs
-- ARGV  1 JSON {layout, epoch, timeline, call, now, worker, notes [{run, id, g, node, scope, delivery, nonce, attempt, started_at}]}
-- reply ok | refused
-- Journal: n, one for each execution that is still held.
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/held.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local fields = {}
for _, note in ipairs(call.notes) do
  local held = EXECUTION.active .. ':' .. note.nonce .. ':' .. note.delivery .. ':' .. note.attempt .. ':' .. call.worker .. ':'
  if is_as_given(KEYS[note.run], note, held) then
    fields[#fields + 1] = EVENT.running
    fields[#fields + 1] = cjson.encode({ id = note.id, g = note.g, node = note.node, scope = note.scope,
      attempt = note.attempt, worker = call.worker, started_at = note.started_at })
  end
end
if #fields > 0 then append_journal(meta, call, KEYS[2], fields) end
return commit({ word = 'ok' })
