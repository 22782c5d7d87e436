#!lua flags=allow-oom
-- Timers that are due: their tokens go into the ready streams. A timer fires once, whoever calls how often.
-- KEYS  1 meta · 2 timers · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, queues {name: position}, due [kept token]}: each once
-- reply {word: ok, fired} | refused
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/tokens.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local fired, now = 0, clock()
for _, kept in ipairs(call.due) do
  local due = redis.call('ZSCORE', KEYS[2], kept)
  if due and tonumber(due) <= now then
    local queue, token = split_kept(kept)
    write('ZREM', KEYS[2], kept)
    write('XADD', stream_of(call, queue), '*', 't', token)
    fired = fired + 1
  end
end
return commit({ word = 'ok', fired = fired })
