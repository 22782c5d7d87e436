#!lua flags=allow-oom
-- Timers that are due: their tokens go into the ready streams. A timer fires once, whoever calls how often.
-- KEYS  1 meta · 2 timers · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, due [{kept, stream}]}
-- reply {word: ok, fired} | refused
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/tokens.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local fired, now = 0, clock()
for _, timer in ipairs(call.due) do
  local due = redis.call('ZSCORE', KEYS[2], timer.kept)
  if due and tonumber(due) <= now then
    local _, token = split_kept(timer.kept)
    redis.call('ZREM', KEYS[2], timer.kept)
    redis.call('XADD', KEYS[timer.stream], '*', 't', token)
    fired = fired + 1
  end
end
return { cjson.encode({ word = 'ok', fired = fired }) }
