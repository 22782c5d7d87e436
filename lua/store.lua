#!lua
-- Stores items of a map under a name that others write to as well, as items may be added: only for the execution as it was handed out last.
-- Refused on low memory (no allow-oom flag), as it takes some.
-- KEYS  1 meta · 2 run · 3 blob
-- ARGV  1 JSON {layout, epoch, timeline, call, now, g, node, scope, delivery, nonce, ttl_ms}; 2 the items
-- reply ok (also when it is stale: so is the step that would refer to it) | refused
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/held.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local held = EXECUTION.active .. ':' .. call.nonce .. ':' .. string.format('%.0f', call.delivery) .. ':'
if is_as_given(KEYS[2], call, held) then
  if redis.call('PTTL', KEYS[3]) == -1 then write('SET', KEYS[3], ARGV[2])
  else write('SET', KEYS[3], ARGV[2], 'PX', string.format('%.0f', call.ttl_ms)) end
end
return commit({ word = 'ok' })
