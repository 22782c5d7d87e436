#!lua flags=allow-oom
-- The atomic step of plain executions (DESIGN 2), as `advance` would do it: completed at once, of runs that nothing is special about (counts,
-- run.lua), outside of bodies, in loops, or in items of one map of which each is followed by one other. Whatever is otherwise is answered `s`,
-- with nothing written of it: its worker sends it to `advance`, on the same state. So this script knows one way only, and is short. It makes
-- few texts and few tables, as these are what a script costs.
-- KEYS  1 meta · 2 journal · 3 leases · 4 nudge · then, at the positions that the call names: streams, runs, IRs
-- ARGV  1 layout · 2 installation · 3 epoch · 4 timeline · 5 call · 6 now · 7 worker · 8 lease_ms · 9 take · 10 most edges · 11 parts (limits.part)
--       12 number of queues · 13 of IRs · 14 of finished · 15 of claims; then
--       of each queue: name, position of its ready stream, 1 if the worker reads it
--       of each IR: position, digest
--       of each finished: run, IR (positions), generation, `id|generation|`, node, `nonce:1:`, lease, what is to be done (1 or 0 each: its output is
--         kept, its successors may be handed over, so may the next item's entry; then a letter for each edge), record (of EVENT.plain, without its
--         head), output, `@` and its scope (empty: none); and with a scope: field of the counter that it counts in (empty: the run's), field of the
--         map around it (empty: none), its scope when that is an item's own (else empty), the map's node, `@` and the map's scope, scopes
--         (position), field of the execution that handed it over, which is to be forgotten (empty: none)
--       of each claim: run (position), generation, node, `nonce:1:`, lease, stream (position), entry, `@` and its scope, field of the map around it
-- reply a list: ok, a letter for each finished (d done, s slow) and each claim (r run, s slow), number of tokens that are handed over; then of each of
--       these: position of the finished item that it follows, node (with `@` and its scope), and `=` when it has its predecessor's output and no other, or its sources, and the
--       output of each (- its predecessor's own; empty: none). Of each claim that runs: its sources, the output of each, and the run's input. Or refused.
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

local redis_call, match, gmatch, sub, concat = redis.call, string.match, string.gmatch, string.sub, table.concat

-- Numbers become text as Lua does it: none has more than 14 digits.
local nonce, worker, take, edges_left, part = call.call, ARGV[7], tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local queues, irs, finished, claims, at = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15]), 16
local new_hand_out = nonce .. ':1:'
local stream, reads, digests = {}, {}, {}
for _ = 1, queues do
  stream[ARGV[at]], reads[ARGV[at]] = KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2] == '1'
  at = at + 3
end
for _ = 1, irs do
  digests[ARGV[at]] = ARGV[at + 1]
  at = at + 2
end

local runs, order, words, reply, queued, handed_over = {}, {}, {}, { 'ok', '', '' }, {}, 0
local journal = { 'XADD', KEYS[2], '', 'call', nonce, 'at', ARGV[6] }
local HEAD = #journal
local released, leased = { 'ZREM', KEYS[3] }, { 'ZADD', KEYS[3] }
local lease_until = string.format('%.0f', clock() + tonumber(ARGV[8]))

-- The run, and the state of one of its executions, `field`; nil: it is not one of those that this script knows.
local function open(position, generation, field, with_input)
  local run = runs[position]
  if run == nil then
    local key = KEYS[tonumber(position)]
    local main = with_input and redis_call('HMGET', key, RUN.counts, field, RUN.input) or redis_call('HMGET', key, RUN.counts, field)
    local its_generation, counter, events, special = match(main[1] or '', '^(%d+),(%d+),(%d+),(.*)$')
    run = special == '' and { key = key, generation = its_generation, counter = tonumber(counter), events = tonumber(events),
      cache = { [field] = main[2], [RUN.input] = main[3] }, sets = { 'HSET', key, RUN.counts, '' } }
    runs[position] = run
    if run then order[#order + 1] = run end
  end
  if run and run.generation == generation and not run.status then return run, get(run, field) end
end

-- Writes a field of the run; false deletes it.
local function put(run, field, value)
  run.cache[field] = value
  local list = value and run.sets or run.deletes or { 'HDEL', run.key }
  list[#list + 1] = field
  if value then list[#list + 1] = value else run.deletes = list end
end

local known = {}
local function read_ir(position, field)
  local name = position .. field
  local edges = known[name]
  if edges == nil then
    local packed = redis_call('HGET', KEYS[tonumber(position)], field)
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
  local outputs = {}
  for source in gmatch(sources, '%d+') do outputs[#outputs + 1] = FIELD.output .. source .. scope_at end
  get_many(run, outputs)
  local own_output = own and FIELD.output .. own .. scope_at
  for _, field in ipairs(outputs) do reply[#reply + 1] = field == own_output and ANSWER.own or run.cache[field] or '' end
end

-- What the item on hand sets off, until it is known that all of it is plain.
local fired, sources_fired = {}, {}
local NONE = {}
-- Of what is to be done: before the letters of the edges.
local LEADING = 3

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

-- Where a map's record has what is asked for here (bodies.lua).
local TOTAL, NEXT, OPEN, OVER, UNSEEN, STOPPED = 1, 2, 3, 4, 9, 10

-- The map of this field, of which items are under way; nil: it is gone, or ended early.
local function map_of(run, field)
  run.maps = run.maps or {}
  local map = run.maps[field]
  if map == nil then
    map = {}
    for value in gmatch(get(run, field) or '', '%d+') do map[#map + 1] = tonumber(value) end
    map = #map == STOPPED and map
    run.maps[field] = map
  end
  if map and map[STOPPED] == 0 then return map end
end

-- What follows from the end of an item: {ending, entry, item: the next one's, or nil}. nil: more than that, or something else.
local function after_item(run, ir, node, map, base)
  local of = ARGV[base + 14]
  local info = read_ir(ir, ADJACENCY.body .. of)
  if get(run, SCOPE.unhandled .. ARGV[base + 10]) or info.asks or #info.results ~= 1 or #info.ends > 0 or #info.loops > 0 then return nil end
  if info.results[1] .. '' ~= node then return nil end
  local after = { fields = read_ir(ir, ADJACENCY.scope_fields .. of) }
  if not after.fields or #after.fields >= part then return nil end
  if map[NEXT] >= map[TOTAL] then return map[OPEN] > 1 and after or nil end
  if map[OPEN] < info.window and map[NEXT] + 1 < map[TOTAL] then return nil end -- there is room for more than one
  local entries = read_ir(ir, ADJACENCY.out .. BEGINNING.item .. of)
  local entry = #entries == 1 and entries[1]
  if not entry or (entry[7] and (entry[7] > 0 or entry[9] > 0)) or not stream[entry[6]] then return nil end
  local outer = sub(ARGV[base + 15], 2)
  after.entry, after.item = entry, (outer == '' and '' or outer .. '/') .. info.id .. ':' .. map[NEXT]
  return after
end

-- The item is over: its output is a result of the map, what else is of it goes (but what it handed over), and the next one begins.
local function end_item(run, map, after, base, kept)
  local scope_at, item = ARGV[base + 10], ARGV[base + 13]
  local field, scopes = FIELD.execution .. ARGV[base + 4] .. scope_at, KEYS[tonumber(ARGV[base + 16])]
  map[OVER], map[UNSEEN] = map[OVER] + 1, 1
  if after.item then map[NEXT] = map[NEXT] + 1 else map[OPEN] = map[OPEN] - 1 end
  map.changed = true
  put(run, FIELD.results .. ARGV[base + 14] .. ARGV[base + 15] .. '#' .. match(item, '%d+$') .. '.' .. ARGV[base + 4], ARGV[base + 9])
  for _, name in ipairs(after.fields) do
    name = name .. scope_at
    if not (kept and name == field) and (run.cache[name] or #after.fields > 2) then put(run, name, false) end
  end
  put(run, SCOPE.counter .. scope_at, false)
  run.closed = run.closed or { 'SREM', scopes }
  run.closed[#run.closed + 1] = item
  if not after.item then return end
  put(run, SCOPE.counter .. '@' .. after.item, '1')
  run.opened = run.opened or { 'SADD', scopes }
  run.opened[#run.opened + 1] = after.item
end

-- What the item on hand activated, and what of that was handed over: for the journal, and for its own state.
local activated, handed

-- An execution is activated: it gets its token.
local function activate(run, position, base, edge, sources, scope, may_hand)
  local target, queue, at_target = edge[2] .. '', edge[6], scope == '' and '' or '@' .. scope
  local hands = may_hand and take > 0 and reads[queue] and edge[10] ~= 1
  put(run, FIELD.execution .. target .. at_target, EXECUTION.active .. ':' .. new_hand_out .. '1:' .. (hands and worker or '') .. ':' .. sources)
  local execution = target .. '|' .. scope .. '|1|1|' .. nonce
  local is_elsewhere = at_target ~= ARGV[base + 10]
  activated = activated .. (activated == '' and '' or ' ') .. target .. ':' .. sources .. (is_elsewhere and at_target or '')
  if hands then
    local lease = ARGV[base + 6]
    handed = handed .. (handed == '' and '' or ',') .. target .. at_target .. (sub(lease, 1, #queue + 1) == queue .. '|' and '' or '!' .. queue)
    take, handed_over = take - 1, handed_over + 1
    local told, last = #reply, #leased
    reply[told + 1], reply[told + 2] = position .. '', target .. at_target
    if sources == ARGV[base + 4] then reply[told + 3] = ANSWER.own_alone
    else
      reply[told + 3] = sources
      tell_outputs(run, sources, at_target, ARGV[base + 4])
    end
    leased[last + 1], leased[last + 2] = lease_until, queue .. '|' .. ARGV[base + 3] .. execution
  else
    local last = #queued
    queued[last + 1] = stream[queue]
    queued[last + 2] = TOKEN.execution .. '|' .. ARGV[base + 3] .. digests[ARGV[base + 1]] .. '|' .. execution
  end
end

-- One finished execution. Everything is found out before anything of it is noted.
local function finish(base, position)
  local ir, node, hand_out, lease, flags = ARGV[base + 1], ARGV[base + 4], ARGV[base + 5], ARGV[base + 6], ARGV[base + 7]
  local scope_at = ARGV[base + 10]
  local scope, field, counter_field, map, after = '', FIELD.execution .. node .. scope_at, '', nil, nil
  if scope_at ~= '' then scope, counter_field = sub(scope_at, 2), ARGV[base + 11] end
  if counter_field ~= '' and runs[ARGV[base]] then get_many(runs[ARGV[base]], { field, counter_field, SCOPE.unhandled .. scope_at }) end
  local run, state = open(ARGV[base], ARGV[base + 2], field)
  local active = EXECUTION.active .. ':' .. hand_out .. '1:'
  if not state or sub(state, 1, #active) ~= active then return false end
  local edges = read_ir(ir, ADJACENCY.out .. node)
  if not edges or #edges >= part or #edges > edges_left then return false end
  if counter_field ~= '' then
    get_many(run, { counter_field, ARGV[base + 12], SCOPE.unhandled .. scope_at })
    map = map_of(run, ARGV[base + 12])
    if not map then return false end
  end
  local count, arrived = look_ahead(run, ir, node, edges, flags, scope_at)
  if not count then return false end
  local outstanding = (map and tonumber(get(run, counter_field) or '0') or run.counter) - 1 + count
  if map and outstanding == 0 then
    after = ARGV[base + 13] ~= '' and after_item(run, ir, node, map, base)
    if not after then return false end
  end

  -- From here on nothing is otherwise any more.
  edges_left = edges_left - #edges
  if scope_at ~= '' and ARGV[base + 17] ~= '' then put(run, ARGV[base + 17], false) end
  if sub(flags, 1, 1) == '1' and not after then put(run, FIELD.output .. node .. scope_at, ARGV[base + 9]) end
  for name, value in pairs(arrived) do put(run, name, value) end
  activated, handed = '', ''
  for index = 1, count do activate(run, position, base, fired[index], sources_fired[index], scope, sub(flags, 2, 2) == '1') end
  if after and after.item then activate(run, position, base, after.entry, '', after.item, sub(flags, 3, 3) == '1') end
  if after then end_item(run, map, after, base, handed ~= '')
  elseif map and count ~= 1 then put(run, counter_field, outstanding .. '') end
  if not after or handed ~= '' then put(run, field, EXECUTION.completed .. ':' .. hand_out .. handed) end
  local first_event, zero = run.events + 1, ''
  run.events = first_event
  if not map then
    run.counter = outstanding
    if outstanding == 0 then
      run.events, run.status, zero = first_event + 1, STATUS.completed, STATUS.completed
      ring()
    end
  end
  local last = #journal
  journal[last + 1], journal[last + 2] = EVENT.plain, first_event .. '|' .. activated .. '|' .. zero .. '|' .. ARGV[base + 8]
  journal[last + 3], journal[last + 4] = '', ARGV[base + 9]
  released[#released + 1] = lease
  return true
end

local function claim(base)
  local scope_at, hand_out = ARGV[base + 7], ARGV[base + 3]
  local field = FIELD.execution .. ARGV[base + 2] .. scope_at
  local run, state = open(ARGV[base], ARGV[base + 1], field, true)
  local active = EXECUTION.active .. ':' .. hand_out .. '1:'
  if not state or sub(state, 1, #active) ~= active then return false end
  local holder, sources = match(state, '^([^:]*):([%d,]*)$', #active + 1)
  if not holder or (holder ~= '' and holder ~= worker) then return false end
  local entry = ARGV[base + 6]
  if not match(entry, '^%d+%-%d+$') then return false end
  if ARGV[base + 8] ~= '' and not map_of(run, ARGV[base + 8]) then return false end
  local value, size, last = active .. worker .. ':' .. sources, #run.sets, #leased
  run.cache[field] = value
  run.sets[size + 1], run.sets[size + 2] = field, value
  reply[#reply + 1] = sources
  if sources ~= '' then tell_outputs(run, sources, scope_at) end
  reply[#reply + 1] = get(run, RUN.input)
  leased[last + 1], leased[last + 2] = lease_until, ARGV[base + 4]
  local key = KEYS[tonumber(ARGV[base + 5])]
  note({ 'XACK', key, 'workers', entry })
  note({ 'XDEL', key, entry })
  return true
end

for position = 1, finished do
  words[position] = finish(at, position) and ANSWER.done or ANSWER.slow
  at = at + (ARGV[at + 10] == '' and 11 or 18)
end
for position = 1, claims do
  words[finished + position] = claim(at) and ANSWER.runs or ANSWER.slow
  at = at + 9
end
reply[2], reply[3] = concat(words), handed_over .. ''

if #journal > HEAD then
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
  local size = #sets
  if size > 4 then
    sets[4] = run.generation .. ',' .. run.counter .. ',' .. run.events .. (run.status and ',1' or ',')
    if run.status then sets[size + 1], sets[size + 2] = RUN.status, run.status end
    note(sets)
  end
  if run.deletes then note(run.deletes) end
  if run.opened then note(run.opened) end
  if run.closed then note(run.closed) end
end
for index = 1, #queued, 2 do note({ 'XADD', queued[index], '*', 't', queued[index + 1] }) end
if #released > 2 then note(released) end
if #leased > 2 then note(leased) end
return commit_list(reply)
