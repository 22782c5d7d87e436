#!lua flags=allow-oom
-- Entries that were delivered to a consumer and never claimed go back to the end of their stream. A consumer that claims one all the
-- same gets it: the second copy is then stale.
-- KEYS  1 meta · 2 ready stream
-- ARGV  1 JSON {layout, epoch, timeline, entries [id]}
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
for _, id in ipairs(call.entries) do
  local found = redis.call('XRANGE', KEYS[2], id, id)[1]
  if found then write('XADD', KEYS[2], '*', unpack(found[2])) end
  write('XACK', KEYS[2], 'workers', id)
  write('XDEL', KEYS[2], id)
end
return commit({ word = 'ok' })
