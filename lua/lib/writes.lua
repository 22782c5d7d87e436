-- What a script writes. It decides first, noting each write, and performs them together at its end (`commit`), when nothing can fail any
-- more: all keys are known, all values fit, the reply is encoded. So a call that is refused, or over whose data a script stumbles, leaves
-- nothing behind. No other file of lua/ writes.

-- Values of one write at most: Lua passes some 8,000.
local VALUES_AT_ONCE = 4000

local writes, unknown = {}, nil

-- The partition's reader sleeps until somebody rings, or for LOOK_MS after the first entry that it has not read. So a script rings, once and
-- at its end, when it appends what is not to wait for that: a zero-hit (the compensating one too), a halt, a new child, a map that is to be
-- buried, a command, a timer that is due before that look; and with each FULL_BATCH entries (engine/limits.ts names both numbers).
local LOOK_MS, FULL_BATCH = 50, 800

local bell, rings = nil, false

local function ring() rings = true end

-- Of a script that appends nothing.
local function ring_at(nudge) bell, rings = nudge, true end

local function ring_before(due, now)
  if due - now < LOOK_MS then ring() end
end

-- The entry of this number is appended. nudge: the stream that wakes the reader.
local function appended(seq, nudge)
  bell = nudge
  if seq % FULL_BATCH == 0 then ring() end
end

-- A key that the call did not name refuses it by this word.
local function known(key, word)
  if not key then unknown = unknown or word end
  return key
end

local function stream_of(call, queue) return known(KEYS[call.queues[queue]], 'queue') end

local function write(command, key, ...)
  if not known(key, 'key') then return end
  local one, size = { command, key, ... }, select('#', ...) + 2
  if size > VALUES_AT_ONCE + 2 then error(command .. ' of ' .. size .. ' values') end
  for index = 2, size do
    local kind = type(one[index])
    if kind ~= 'string' and kind ~= 'number' then error(command .. ' of a ' .. kind) end
  end
  writes[#writes + 1] = one
end

-- A write as it is to be made, of texts and numbers only.
local function note(one)
  if known(one[2], 'key') then writes[#writes + 1] = one end
end

-- As one write, or as several when there are many values.
local function write_all(command, key, values)
  for first = 1, #values, VALUES_AT_ONCE do
    write(command, key, unpack(values, first, math.min(first + VALUES_AT_ONCE - 1, #values)))
  end
end

-- The entry's id is its dense number; the call's nonce tells two histories apart. fields: alternating names and values.
local function append_journal(meta, call, key, fields)
  local seq = string.format('%.0f', meta.seq + 1)
  write('XADD', key, seq .. '-0', 'call', call.call, 'at', string.format('%.0f', call.now), unpack(fields))
  write('HSET', KEYS[1], 'seq', seq)
  appended(meta.seq + 1, KEYS[call.nudge])
end

-- Performs what was noted, and answers with this list.
local function commit_list(replies)
  if rings and bell then note({ 'XADD', bell, 'MAXLEN', 1, '*', 'n', '1' }) end
  if unknown then return refuse(unknown) end
  for _, one in ipairs(writes) do redis.call(unpack(one)) end
  return replies
end

-- payloads: strings behind the reply, which takes the place of the first.
local function commit(reply, payloads)
  local replies = payloads or {}
  replies[1] = cjson.encode(reply)
  return commit_list(replies)
end
