#!lua flags=allow-oom
-- Counts for how long the tokens of function streams have waited while workers of their queue lived and none offered the function. A stream
-- without tokens is removed after a while. Called by the reader, which knows the workers.
-- KEYS  1 meta · 2 functions · then function streams
-- ARGV  1 JSON {layout, epoch, timeline, keep_ms, streams [{function (field), stream, waits (ms to be added), offered}]}
-- reply {word: ok, waited [ms, for each stream; -1: there is no such stream]} | refused: what a token has waited since somebody last offered its
--   function is that, less its own `w` when this is larger than `offered`
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end

local function last_moved(stream)
  local facts = redis.call('XINFO', 'STREAM', stream)
  for index = 1, #facts, 2 do
    if facts[index] == 'last-generated-id' then return tonumber(string.match(facts[index + 1], '^%d+')) end
  end
end

local answers, counted, removed = {}, {}, {}
for index, one in ipairs(call.streams) do
  local known = redis.call('HGET', KEYS[2], one['function'])
  answers[index] = { -1, -1 }
  if known then
    local before, offered_before = string.match(known, '^(%d+),(%d+)$')
    local waited, offered = tonumber(before) + one.waits, tonumber(offered_before)
    if one.offered then offered = waited end
    answers[index] = { waited, offered }
    local stream = KEYS[one.stream]
    if redis.call('XLEN', stream) == 0 and last_moved(stream) <= clock() - call.keep_ms then
      removed[#removed + 1] = one
    elseif one.waits > 0 or offered ~= tonumber(offered_before) then
      counted[#counted + 1] = one['function']
      counted[#counted + 1] = string.format('%.0f,%.0f', waited, offered)
    end
  end
end
write_all('HSET', KEYS[2], counted)
for _, one in ipairs(removed) do
  write('UNLINK', KEYS[one.stream])
  write('HDEL', KEYS[2], one['function'])
end
return commit({ word = 'ok', waited = answers })
