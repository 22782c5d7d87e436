#!lua flags=allow-oom
-- Opens a partition to one server's timeline. Called by the partition's reader only, after it compared journal and record.
-- KEYS  1 meta
-- ARGV  1 JSON {layout, installation, epoch, timeline, create, expected?}: `create` makes a partition that must not exist;
--       otherwise epoch must be the current one and timeline the `expected` one (it is replaced)
-- reply opened | exists | absent | epoch | layout | timeline | installation (the keys belong to another database)
--@include lib/fence.lua
--@include lib/writes.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local function answer(word) return commit({ word = word }) end
if meta.layout and meta.layout ~= call.layout then return answer('layout') end
if meta.installation and meta.installation ~= call.installation then return answer('installation') end
if call.create then
  if meta.epoch and tonumber(meta.epoch) >= tonumber(call.epoch) then return answer('exists') end
else
  if not meta.epoch then return answer('absent') end
  if meta.epoch ~= call.epoch then return answer('epoch') end
  if meta.timeline ~= call.expected then return answer('timeline') end
end
if call.create then
  write('HSET', KEYS[1], 'layout', call.layout, 'installation', call.installation, 'epoch', call.epoch,
    'timeline', call.timeline, 'seq', '0')
else
  write('HSET', KEYS[1], 'timeline', call.timeline)
end
return answer('opened')
