-- Workers as others know them.
-- workers (sorted set): worker -> until when its process is known to live; made by its listing, renewed by its thread
-- listings (hash): worker -> listed until|flags|alone. Leases that end no earlier are of tokens that it listed last, or was handed since.
--   alone: the kept token of a suspect, when it performs nothing else. flags: l it is about to leave, p its parent tells of its death

local function put_listing(keys, worker, now, lease_ms, listing)
  write('ZADD', keys.workers, integer(now + lease_ms), worker)
  write('HSET', keys.listings, worker, table.concat({ integer(listing.until_ms), listing.flags, listing.alone }, '|'))
end

-- The process of this worker lives, and its loop has not listed since the token was handed out or listed, whose lease ends at `score`.
local function is_blocked(keys, worker, now, score)
  local alive_until = redis.call('ZSCORE', keys.workers, worker)
  if not alive_until or tonumber(alive_until) <= now then return false end
  local listed_until = string.match(redis.call('HGET', keys.listings, worker) or '', '^(%d+)|')
  return listed_until and tonumber(score) >= tonumber(listed_until) and tonumber(alive_until)
end
