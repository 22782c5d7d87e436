-- Function streams: a token that came to a worker which does not offer its function is moved, once, to a stream of that queue and function.
-- Only workers that offer it read that stream, so that it comes to no other again. Suspects are moved to one of their own, which is read as
-- that of their queue is: they stay alone.
--
-- functions (hash): queue/function of each stream that exists, !queue/function of one of suspects → waited,offered: for how long (ms)
--   workers of the queue lived of which none offered it, as the reader counts it, and that number when one last did. A token in a stream
--   carries `waited` as it found it.

local offers = { moved = {}, opened = {} }

-- 'moved'; 'stale' when another moved it before; nil when it cannot be moved: there are as many streams as there may be.
function offers.move(call, item, token)
  if #redis.call('XRANGE', KEYS[item.stream], item.entry, item.entry) == 0 then return 'stale' end
  if item.moves_to == item.stream then return nil end
  local waited = '0'
  if not offers.opened[item['function']] then
    local known = redis.call('HGET', KEYS[call.functions], item['function'])
    if known then waited = string.match(known, '^%d+')
    else
      offers.count = (offers.count or redis.call('HLEN', KEYS[call.functions])) + 1
      if offers.count > call.most_functions then return nil end
      offers.opened[item['function']] = item.moves_to
    end
  end
  offers.moved[#offers.moved + 1] = { to = item.moves_to, token = token, waited = waited }
  return 'moved'
end

function offers.has_opened() return next(offers.opened) ~= nil end

function offers.write(call)
  for field, stream in pairs(offers.opened) do
    write('HSET', KEYS[call.functions], field, '0,0')
    if not has_group(KEYS[stream]) then write('XGROUP', 'CREATE', KEYS[stream], 'workers', '0', 'MKSTREAM') end
  end
  for _, one in ipairs(offers.moved) do write('XADD', KEYS[one.to], '*', 't', one.token, 'w', one.waited) end
end
