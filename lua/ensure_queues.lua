#!lua flags=allow-oom
-- Makes the streams of queues, those that are not there, and the group that reads them. Repeating it changes nothing.
-- KEYS  1 meta · 2 queues · then streams
-- ARGV  1 JSON {layout, installation, epoch, timeline, queues [name]}
-- reply ok | refused
--@include lib/fence.lua
--@include lib/writes.lua
--@include lib/groups.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
write_all('SADD', KEYS[2], call.queues)
for index = 3, #KEYS do
  if not has_group(KEYS[index]) then write('XGROUP', 'CREATE', KEYS[index], 'workers', '0', 'MKSTREAM') end
end
return commit({ word = 'ok' })
