#!lua flags=allow-oom
-- Ready streams are rid of consumers whose workers are gone, but never of one that holds entries: DELCONSUMER would throw these away. A queue
-- that nobody reads any more and that is empty goes with its last consumer, and its suspects' stream, too. A worker that comes back makes both anew.
-- KEYS  1 meta · 2 queues · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, gone_ms, most, streams [{stream, queue?, suspects?}]}: a consumer that has not read for gone_ms is gone; so many
--       are removed at most; queue: its stream may go, too
-- reply {word: ok, removed} | refused
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end

-- XINFO CONSUMERS as tables by name of the fact; none when there is no such stream or group.
local function consumers_of(stream)
  local list = redis.pcall('XINFO', 'CONSUMERS', stream, 'workers')
  if list.err then return {} end
  local consumers = {}
  for position, facts in ipairs(list) do
    consumers[position] = {}
    for index = 1, #facts, 2 do consumers[position][facts[index]] = facts[index + 1] end
  end
  return consumers
end

local removals, emptied = {}, {}
for _, one in ipairs(call.streams) do
  local stream = KEYS[one.stream]
  local left = 0
  for _, consumer in ipairs(consumers_of(stream)) do
    if consumer.pending == 0 and consumer.idle >= call.gone_ms and #removals < call.most then
      removals[#removals + 1] = { stream, consumer.name }
    else
      left = left + 1
    end
  end
  if left == 0 and one.queue and redis.call('XLEN', stream) == 0 and redis.call('XLEN', KEYS[one.suspects]) == 0 then
    emptied[#emptied + 1] = { stream, one.queue, KEYS[one.suspects] }
  end
end
for _, one in ipairs(removals) do write('XGROUP', 'DELCONSUMER', one[1], 'workers', one[2]) end
for _, one in ipairs(emptied) do
  write('UNLINK', one[1])
  write('UNLINK', one[3])
  write('SREM', KEYS[2], one[2])
end
return commit({ word = 'ok', removed = #removals })
