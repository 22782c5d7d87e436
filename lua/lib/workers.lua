-- Workers as others know them.
-- workers (sorted set): worker -> until when its process is known to live; made by its listing, renewed by its thread
-- listings (hash): worker -> listed until|flags|lease (ms)|alone. Leases that end no earlier are of tokens that it listed last, or was handed since.
--   alone: the lease of a suspect, when it performs nothing else. flags: l it is about to leave
-- last_words (hash): worker -> JSON {text, begun [lease]}: of one whose loop stands still, or that is about to end; begun: what it performed

local function put_listing(keys, worker, now, lease_ms, listing)
  write('ZADD', keys.workers, integer(now + lease_ms), worker)
  write('HSET', keys.listings, worker, table.concat({ integer(listing.until_ms), listing.flags, integer(lease_ms), listing.alone }, '|'))
end

-- The process of this worker lives, and its loop has not listed since the token was handed out or listed, whose lease ends at `score`.
local function is_blocked(keys, worker, now, score)
  local alive_until = redis.call('ZSCORE', keys.workers, worker)
  if not alive_until or tonumber(alive_until) <= now then return false end
  local listed_until = string.match(redis.call('HGET', keys.listings, worker) or '', '^(%d+)|')
  return listed_until and tonumber(score) >= tonumber(listed_until) and tonumber(alive_until)
end

-- What the end of a worker means for an execution that it held; nil: nobody is at fault. A worker that lives does not hold it any more, one that
-- has no record left in order, as does one that was about to.
local function loss_of(keys, worker, now, lease)
  local alive_until = redis.call('ZSCORE', keys.workers, worker)
  if not alive_until or tonumber(alive_until) > now then return nil end
  local _, flags, alone = string.match(redis.call('HGET', keys.listings, worker) or '', '^(%d+)|(%a*)|%d+|(.*)$')
  if not flags or string.find(flags, LISTED.leaves) then return nil end
  local said = redis.call('HGET', keys.last_words, worker)
  local words = said and cjson.decode(said) or {}
  if words.begun then
    local begun = false
    for _, one in ipairs(words.begun) do begun = begun or one == lease end
    if not begun then return nil end
  end
  return { alone = alone == lease, words = words.text }
end
