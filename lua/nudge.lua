#!lua flags=allow-oom
-- Wakes the partition's reader: there is a command.
-- KEYS  1 meta · 2 nudge
-- ARGV  1 JSON {layout, installation, epoch, timeline}
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
ring_at(KEYS[2])
return commit({ word = 'ok' })
