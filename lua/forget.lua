#!lua flags=allow-oom
-- Clears finished runs out of Redis after their final status was committed, and trims the journal behind the record.
-- A tombstone stays for each run, longer than any start that may still be on its way.
-- KEYS  1 meta · 2 journal · then, for each run, its tombstone, its state and its blobs
-- ARGV  1 JSON {layout, epoch, timeline, recorded, tombstone_ms, tombstones [position], unlink [position]}
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
for _, position in ipairs(call.tombstones or {}) do
  write('SET', KEYS[position], '1', 'PX', string.format('%.0f', call.tombstone_ms))
end
for _, position in ipairs(call.unlink or {}) do write('UNLINK', KEYS[position]) end
if call.recorded > 0 then write('XTRIM', KEYS[2], 'MINID', string.format('%.0f', call.recorded) .. '-0') end
return commit({ word = 'ok' })
