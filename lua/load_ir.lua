#!lua
-- Stores a part of an IR's adjacency for the scripts. Of a load that is cut off, as by a Redis that restarts in the middle, the copy stays
-- without `complete`: it is loaded again. Refused on low memory (no allow-oom flag), as it takes some.
-- KEYS  1 meta · 2 IR
-- ARGV  1 JSON {layout, installation, epoch, timeline, done: this is the last part} · then fields and values in turn
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/fields.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local values = {}
for index = 2, #ARGV do values[index - 1] = ARGV[index] end
if call.done then values[#values + 1], values[#values + 2] = ADJACENCY.complete, '1' end
write_all('HSET', KEYS[2], values)
return commit({ word = 'ok' })
