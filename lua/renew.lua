#!lua flags=allow-oom
-- A worker lists the tokens that it holds: their leases are renewed. One whose lease is no more was handed out again.
-- KEYS  1 meta · 2 leases
-- ARGV  1 JSON {layout, epoch, timeline, lease_ms, held [kept token]}
-- reply {word: ok, lost [position from 0]} | refused
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/tokens.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local lost, lease_until = {}, integer(clock() + call.lease_ms)
for position, kept in ipairs(call.held) do
  if redis.call('ZSCORE', KEYS[2], kept) then
    write('ZADD', KEYS[2], lease_until, kept)
  else
    lost[#lost + 1] = position - 1
  end
end
return commit({ word = 'ok', lost = #lost > 0 and lost or nil })
