#!lua flags=allow-oom
-- The atomic step of plain executions (DESIGN 2), as `advance` would do it: completed at once, of runs that nothing is special about (counts,
-- run.lua), outside of bodies, in loops, or in items of one map of which each is followed by one other. Whatever is otherwise is answered `s`,
-- with nothing written of it: its worker sends it to `advance`, on the same state. So this script knows one way only, and is short. It makes
-- few texts and few tables, as these are what a script costs.
-- KEYS  1 meta · 2 journal · 3 leases · 4 nudge · then of each queue its ready stream · of each IR its copy · of each finished its run and, when it is
--       in a map, the run's scopes · of each claim its run and its stream
-- ARGV  1 layout · 2 installation · 3 epoch · 4 timeline · 5 call · 6 now · 7 worker · 8 lease_ms · 9 take · 10 most edges · 11 parts (limits.part)
--       12 number of queues · 13 of IRs · 14 of finished · 15 of claims; then
--       of each queue: name, 1 if the worker reads it
--       of each IR: name in this call, digest
--       of each finished: IR (name), generation, `id|generation|`, node, `nonce:1:`, lease, what is to be done (1 or 0 each: its output is kept, its
--         successors may be handed over, so may the next item's entry; then a letter for each edge), record (of EVENT.plain, without its head), output,
--         `@` and its scope (empty: none); and with a scope: field of the counter that it counts in (empty: the run's), field of the map around it
--         (empty: none), its scope when that is an item's own (else empty), the map's node, `@` and the map's scope, field of the execution that
--         handed it over, which is to be forgotten (empty: none)
--       of each claim: generation, node, `nonce:1:`, lease, entry, `@` and its scope, field of the map around it
-- reply a list: ok, a letter for each finished and each claim (ANSWER); then of each finished: nothing (done, slow), a token (handed), or their number and
--       so many (several): node (with `@` and its scope), and `=` when it has its predecessor's output and no other, or its sources, and the output of
--       each (- its predecessor's own; empty: none). Of each claim that runs: its sources, the output of each, and the run's input. Or refused.
-- Journal: as of advance, k.
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/rules.lua
--@include lib/state.lua

local meta = read_meta(KEYS[1])
local call = { layout = ARGV[1], installation = ARGV[2], epoch = ARGV[3], timeline = ARGV[4], call = ARGV[5], now = ARGV[6] }
local word = refusal(meta, call)
if word then return refuse(word) end

local redis_call, match, gmatch, find, byte, sub, concat = redis.call, string.match, string.gmatch, string.find, string.byte, string.sub, table.concat

-- Numbers become text as Lua does it: none has more than 14 digits.
local nonce, worker, take, edges_left, part = call.call, ARGV[7], tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local finished, claims, at, key_at = tonumber(ARGV[14]), tonumber(ARGV[15]), 16, 5
local stream, reads, ir_keys, digests = {}, {}, {}, {}
for _ = 1, tonumber(ARGV[12]) do
  stream[ARGV[at]], reads[ARGV[at]] = KEYS[key_at], ARGV[at + 1] == '1'
  at, key_at = at + 2, key_at + 1
end
for _ = 1, tonumber(ARGV[13]) do
  ir_keys[ARGV[at]], digests[ARGV[at]] = KEYS[key_at], ARGV[at + 1]
  at, key_at = at + 2, key_at + 1
end

local runs, order, words, reply, told, queued = {}, {}, {}, { 'ok', '' }, 2, {}
local journal = { 'XADD', KEYS[2], '', 'call', nonce, 'at', ARGV[6] }
local HEAD = #journal
local written = HEAD
local released, leased, lease_count = { 'ZREM', KEYS[3] }, { 'ZADD', KEYS[3] }, 2
local lease_until = string.format('%.0f', clock() + tonumber(ARGV[8]))
-- What the states of new executions begin with, and what their tokens end with.
local QUEUED = EXECUTION.active .. ':' .. nonce .. ':1:1::'
local HANDED = EXECUTION.active .. ':' .. nonce .. ':1:1:' .. worker .. ':'
local TAIL = '|1|1|' .. nonce

-- Writes a field of the run; false deletes it. What was written is read back when the run comes again.
local function put(run, field, value)
  if value then
    local sets, size = run.sets, run.size
    sets[size + 1], sets[size + 2] = field, value
    run.size = size + 2
  else
    run.deletes = run.deletes or { 'HDEL', run.key }
    run.deletes[#run.deletes + 1] = field
  end
end

local SETS_HEAD = 4

local function read_back(run)
  local cache, sets = run.cache, run.sets
  for index = run.read_to + 1, run.size, 2 do cache[sets[index]] = sets[index + 1] end
  run.read_to = run.size
  for index = 3, #(run.deletes or {}) do cache[run.deletes[index]] = false end
end

-- The run, and the state of one of its executions, `field`; nil: it is not one of those that this script knows.
local function open(key, generation, field, with_input)
  local run, state = runs[key], nil
  if run == nil then
    local main
    if with_input then main = redis_call('HMGET', key, RUN.counts, field, RUN.input) else main = redis_call('HMGET', key, RUN.counts, field) end
    state = main[2]
    local its_generation, counter, events = match(main[1] or '', '^(%d+),(%d+),(%d+),$')
    -- Room for what most write: an output and two states.
    run = its_generation and { key = key, generation = its_generation, counter = counter, events = events, input = main[3], cache = {},
      sets = { 'HSET', key, RUN.counts, '', '', '', '', '', '', '' }, size = SETS_HEAD, read_to = SETS_HEAD } or false
    runs[key] = run
    if run then order[#order + 1] = run end
  elseif run then
    read_back(run)
    state = get(run, field)
  end
  if run and run.generation == generation and not run.status then return run, state end
end

local known = {}
local function read_ir(ir, field)
  local name = ir .. field
  local edges = known[name]
  if edges == nil then
    local packed = redis_call('HGET', ir_keys[ir], field)
    edges = packed and cjson.decode(packed)
    known[name] = edges
  end
  return edges
end

-- What an arrival at a join comes to. `arrived` has what this item brought before. Answers the new counts, or nil: it is not plain.
local function join(run, edge, letter, arrived, scope_at)
  local target = edge[2] .. scope_at
  if get(run, FIELD.execution .. target) then return nil end -- it fired early: the arrival is absorbed
  local counts = arrived[FIELD.arrivals .. target] or get(run, FIELD.arrivals .. target) or '0,0,0'
  local t, n, f, rest = match(counts, '^(%d+),(%d+),(%d+)(.*)$')
  t, n = tonumber(t), tonumber(n)
  if letter == ARRIVAL.taken then t = t + 1 else n = n + 1 end
  arrived[FIELD.arrival .. edge[1] .. scope_at] = letter
  arrived[FIELD.arrivals .. target] = t .. ',' .. n .. ',' .. f .. rest
  return decide(edge[5], edge[4], t, n, tonumber(f))
end

-- The nodes whose taken arrivals a join fires on, as text; nil: it is wide, or not plain.
local function sources_of(run, ir, target, arrived, scope_at)
  local incoming = read_ir(ir, ADJACENCY.into .. target)
  if not incoming then return nil end
  local fields, sources = {}, {}
  for index, edge in ipairs(incoming) do
    if edge[3] then return nil end
    fields[index] = FIELD.arrival .. edge[1] .. scope_at
  end
  get_many(run, fields)
  for index, edge in ipairs(incoming) do
    if (arrived[fields[index]] or run.cache[fields[index]]) == ARRIVAL.taken then sources[#sources + 1] = edge[2] end
  end
  return concat(sources, ',')
end

-- Adds the outputs of these sources to the reply.
local function tell_outputs(run, sources, scope_at, own)
  local outputs, own_output = {}, own and FIELD.output .. own .. scope_at
  for source in gmatch(sources, '%d+') do outputs[#outputs + 1] = FIELD.output .. source .. scope_at end
  get_many(run, outputs)
  for _, field in ipairs(outputs) do
    told = told + 1
    reply[told] = field == own_output and ANSWER.own or run.cache[field] or ''
  end
end

-- What the item on hand sets off, until it is known that all of it is plain.
local fired, sources_fired = {}, {}
local NONE = {}
-- Of what is to be done: before the letters of the edges.
local LEADING = 3
-- Bytes: of what is to be done, and between the parts of a lease.
local YES, BAR = 49, 124

-- Finds out what the arrivals of an execution come to. Answers how many targets fire and what joins count; nil: it is not plain.
local function look_ahead(run, ir, node, edges, flags, scope_at)
  local arrived, count = NONE, 0
  for index, edge in ipairs(edges) do
    if edge[7] and (edge[7] > 0 or edge[9] > 0 or edge[11] == 1) then return nil end
    local letter, fan_in, target = sub(flags, index + LEADING, index + LEADING), edge[4], edge[2]
    local verdict, sources
    if fan_in > 1 then
      if arrived == NONE then arrived = {} end
      verdict = join(run, edge, letter, arrived, scope_at)
      if verdict == 'fire' then
        sources = sources_of(run, ir, target, arrived, scope_at)
        if not sources then return nil end
      end
    elseif letter == ARRIVAL.taken then
      verdict, sources = decide(edge[5], 1, 1, 0, 0), node
    else
      verdict, sources = decide(edge[5], 1, 0, 1, 0), ''
    end
    if verdict then
      if verdict ~= 'fire' then return nil end -- a skip, and what follows from it
      if not stream[edge[6]] then return nil end
      for other = 1, count do
        if fired[other][2] == target then return nil end -- two edges lead there
      end
      count = count + 1
      fired[count], sources_fired[count] = edge, sources
    end
  end
  return count, arrived
end

--@include lib/items.lua

-- What the item on hand activated, and what of that was handed over: for the journal, and for its own state.
local activated, handed, handed_count

-- An execution is activated: it gets its token.
local function activate(run, base, edge, sources, scope_at, scope, may_hand)
  local target, queue, node, lease = edge[2] .. '', edge[6], ARGV[base + 3], ARGV[base + 5]
  local place = scope_at == '' and target or target .. scope_at
  local shown = target .. ':' .. sources .. (scope_at == ARGV[base + 9] and '' or scope_at)
  activated = activated == '' and shown or activated .. ' ' .. shown
  if not (may_hand and take > 0 and reads[queue] and edge[10] ~= 1) then
    put(run, FIELD.execution .. place, QUEUED .. sources)
    local last = #queued
    queued[last + 1] = stream[queue]
    queued[last + 2] = TOKEN.execution .. '|' .. ARGV[base + 2] .. digests[ARGV[base]] .. '|' .. target .. '|' .. scope .. TAIL
    return
  end
  put(run, FIELD.execution .. place, HANDED .. sources)
  take, handed_count = take - 1, handed_count + 1
  local is_own_queue = find(lease, queue, 1, true) == 1 and byte(lease, #queue + 1) == BAR
  local name = is_own_queue and place or place .. '!' .. queue
  handed = handed == '' and name or handed .. ',' .. name
  leased[lease_count + 1], leased[lease_count + 2] = lease_until, queue .. '|' .. ARGV[base + 2] .. target .. '|' .. scope .. TAIL
  lease_count = lease_count + 2
  reply[told + 1] = place
  told = told + 2
  if sources == node then reply[told] = ANSWER.own_alone
  else
    reply[told] = sources
    if sources ~= '' then tell_outputs(run, sources, scope_at, node) end
  end
end

-- One finished execution; answers its letter. Everything is found out before anything of it is noted.
local function finish(base, key, scopes)
  local ir, node, hand_out, flags, scope_at = ARGV[base], ARGV[base + 3], ARGV[base + 4], ARGV[base + 6], ARGV[base + 9]
  local field, scope, counter_field, map, after = FIELD.execution .. node .. scope_at, '', '', nil, nil
  if scope_at ~= '' then
    scope, counter_field = sub(scope_at, 2), ARGV[base + 10]
    if counter_field ~= '' and runs[key] then get_many(runs[key], { field, counter_field, SCOPE.unhandled .. scope_at }) end
  end
  local run, state = open(key, ARGV[base + 1], field)
  if not state or find(state, EXECUTION.active .. ':' .. hand_out .. '1:', 1, true) ~= 1 then return ANSWER.slow end
  local edges = read_ir(ir, ADJACENCY.out .. node)
  if not edges or #edges >= part or #edges > edges_left then return ANSWER.slow end
  if counter_field ~= '' then
    get_many(run, { counter_field, ARGV[base + 11], SCOPE.unhandled .. scope_at })
    map = map_of(run, ARGV[base + 11])
    if not map then return ANSWER.slow end
  end
  local count, arrived = look_ahead(run, ir, node, edges, flags, scope_at)
  if not count then return ANSWER.slow end
  local outstanding
  if count ~= 1 then
    outstanding = (map and (get(run, counter_field) or 0) or run.counter) - 1 + count
    if map and outstanding == 0 then
      after = ARGV[base + 12] ~= '' and after_item(run, ir, node, map, base)
      if not after then return ANSWER.slow end
    end
  end

  -- From here on nothing is otherwise any more.
  edges_left = edges_left - #edges
  if scope_at ~= '' and ARGV[base + 15] ~= '' then put(run, ARGV[base + 15], false) end
  if byte(flags, 1) == YES and not after then put(run, FIELD.output .. node .. scope_at, ARGV[base + 8]) end
  for name, value in pairs(arrived) do put(run, name, value) end
  activated, handed, handed_count = '', '', 0
  local targets, number_at = after and after.item and 1 or count, told
  if targets > 1 then told = told + 1 end
  for index = 1, count do activate(run, base, fired[index], sources_fired[index], scope_at, scope, byte(flags, 2) == YES) end
  if after and after.item then activate(run, base, after.entry, '', '@' .. after.item, after.item, byte(flags, 3) == YES) end
  if targets > 1 then reply[number_at + 1] = handed_count .. '' end
  if after then end_item(run, map, after, base, scopes, handed ~= '')
  elseif map and outstanding then put(run, counter_field, outstanding .. '') end
  if not after or handed ~= '' then put(run, field, EXECUTION.completed .. ':' .. hand_out .. handed) end
  local first_event, zero = (run.events + 1) .. '', ''
  run.events = first_event
  if outstanding and not map then
    run.counter = outstanding
    if outstanding == 0 then
      run.events, run.status, zero = first_event + 1, STATUS.completed, STATUS.completed
      ring()
    end
  end
  journal[written + 1], journal[written + 2] = EVENT.plain, first_event .. '|' .. activated .. '|' .. zero .. '|' .. ARGV[base + 7]
  journal[written + 3], journal[written + 4] = '', ARGV[base + 8]
  written = written + 4
  released[#released + 1] = ARGV[base + 5]
  return targets > 1 and ANSWER.several or handed_count == 1 and ANSWER.handed or ANSWER.done
end

local function claim(base, key, stream_key)
  local hand_out, scope_at, entry = ARGV[base + 2], ARGV[base + 5], ARGV[base + 4]
  local field = FIELD.execution .. ARGV[base + 1] .. scope_at
  local run, state = open(key, ARGV[base], field, true)
  local active = EXECUTION.active .. ':' .. hand_out .. '1:'
  if not state or find(state, active, 1, true) ~= 1 then return ANSWER.slow end
  local holder, sources = match(state, '^([^:]*):([%d,]*)$', #active + 1)
  if not holder or (holder ~= '' and holder ~= worker) then return ANSWER.slow end
  if not match(entry, '^%d+%-%d+$') then return ANSWER.slow end
  if ARGV[base + 6] ~= '' and not map_of(run, ARGV[base + 6]) then return ANSWER.slow end
  put(run, field, active .. worker .. ':' .. sources)
  told = told + 1
  reply[told] = sources
  if sources ~= '' then tell_outputs(run, sources, scope_at) end
  told = told + 1
  reply[told] = run.input or get(run, RUN.input)
  leased[lease_count + 1], leased[lease_count + 2] = lease_until, ARGV[base + 3]
  lease_count = lease_count + 2
  note({ 'XACK', stream_key, 'workers', entry })
  note({ 'XDEL', stream_key, entry })
  return ANSWER.runs
end

for position = 1, finished do
  local in_map = ARGV[at + 9] ~= '' and ARGV[at + 11] ~= ''
  words[position] = finish(at, KEYS[key_at], in_map and KEYS[key_at + 1])
  at, key_at = at + (ARGV[at + 9] == '' and 10 or 16), key_at + (in_map and 2 or 1)
end
for position = 1, claims do
  words[finished + position] = claim(at, KEYS[key_at], KEYS[key_at + 1])
  at, key_at = at + 7, key_at + 2
end
reply[2] = concat(words)

if written > HEAD then
  local seq = meta.seq + 1
  journal[3] = seq .. '-0'
  note(journal)
  note({ 'HSET', KEYS[1], 'seq', seq .. '' })
  appended(seq, KEYS[4])
end
for _, run in ipairs(order) do
  local sets = run.sets
  for field, map in pairs(run.maps or NONE) do
    if map and map.changed then put(run, field, concat(map, ',')) end
  end
  if run.size > SETS_HEAD then
    sets[SETS_HEAD] = run.generation .. ',' .. run.counter .. ',' .. run.events .. (run.status and ',1' or ',')
    if run.status then put(run, RUN.status, run.status) end
    for index = run.size + 1, #sets do sets[index] = nil end
    note(sets)
  end
  if run.deletes then note(run.deletes) end
  if run.opened then note(run.opened) end
  if run.closed then note(run.closed) end
end
for index = 1, #queued, 2 do note({ 'XADD', queued[index], '*', 't', queued[index + 1] }) end
if #released > 2 then note(released) end
if lease_count > 2 then note(leased) end
return commit_list(reply)
