-- The partition's fence. Every script calls `refusal` first and writes nothing when it answers a word.
-- meta (hash): layout, installation (id of the database that these keys belong to), epoch, timeline, seq. Only `open` creates or changes it,
-- but for `seq`, the number of the last journal entry, which each append raises by one.

local function read_meta(key)
  local meta = redis.call('HMGET', key, 'layout', 'epoch', 'timeline', 'seq', 'installation')
  return { layout = meta[1], epoch = meta[2], timeline = meta[3], seq = tonumber(meta[4] or '0'), installation = meta[5] }
end

local function refusal(meta, call)
  if not meta.layout or not meta.epoch or not meta.timeline then return 'closed' end
  if meta.layout ~= call.layout then return 'layout' end
  if meta.installation ~= call.installation then return 'installation' end
  if meta.epoch ~= call.epoch then return 'epoch' end
  if meta.timeline ~= call.timeline then return 'timeline' end
  return nil
end

local function refuse(word)
  return { cjson.encode({ word = 'refused', why = word }) }
end
