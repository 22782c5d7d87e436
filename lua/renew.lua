#!lua flags=allow-oom
-- A worker lists the tokens that it holds: their leases are renewed. One whose lease is no more was handed out again.
-- KEYS  1 meta · 2 leases · 3 workers · 4 listings · 5 last words · then the streams of suspects that it reads
-- ARGV  1 JSON {layout, epoch, timeline, worker, lease_ms, held [lease], listing {age_ms, flags, alone}}: with the last part of a
--         list, which began so long ago, or calls of which the worker does not know yet what they handed to it
-- reply {word: ok, lost [position from 0], suspects: how many wait} | refused
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/tokens.lua
--@include lib/workers.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local now = clock()
local lost, lease_until = {}, integer(now + call.lease_ms)
for position, lease in ipairs(call.held) do
  if redis.call('ZSCORE', KEYS[2], lease) then
    write('ZADD', KEYS[2], lease_until, lease)
  else
    lost[#lost + 1] = position - 1
  end
end
local listing = call.listing
if listing then
  put_listing({ workers = KEYS[3], listings = KEYS[4] }, call.worker, now, call.lease_ms,
    { until_ms = now + call.lease_ms - listing.age_ms, flags = listing.flags, alone = listing.alone })
  write('HDEL', KEYS[5], call.worker)
end
local suspects = 0
for index = 6, #KEYS do suspects = suspects + redis.call('XLEN', KEYS[index]) end
return commit({ word = 'ok', suspects = suspects, lost = #lost > 0 and lost or nil })
