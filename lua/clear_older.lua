#!lua flags=allow-oom
-- Removes keys of other epochs than the current one, of which nobody reads any more. Called by the partition's reader, which has found them.
-- meta, cleared: the epoch before which none is left.
-- KEYS  1 meta · then keys of other epochs
-- ARGV  1 JSON {layout, installation, epoch, timeline, done: no others are left}
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
for index = 2, #KEYS do write('UNLINK', KEYS[index]) end
if call.done then write('HSET', KEYS[1], 'cleared', call.epoch) end
return commit({ word = 'ok' })
