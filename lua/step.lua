#!lua flags=allow-oom
-- The atomic step of plain executions (DESIGN 2), as `advance` would do it: completed at once, outside of bodies, of runs that nothing is
-- special about (counts, run.lua). Whatever is otherwise is answered `s`, with nothing written of it: its worker sends it to `advance`, on the
-- same state. So this script knows one way only, and is short. It makes few texts and few tables, as these are what a script costs.
-- KEYS  1 meta · 2 journal · 3 leases · 4 nudge · then, at the positions that the call names: streams, runs, IRs
-- ARGV  1 layout · 2 installation · 3 epoch · 4 timeline · 5 call · 6 now · 7 worker · 8 lease_ms · 9 take · 10 most edges · 11 parts (limits.part)
--       12 number of queues · 13 of IRs · 14 of finished · 15 of claims; then
--       of each queue: name, position of its ready stream, 1 if the worker reads it
--       of each IR: position, digest
--       of each finished: run, IR (positions), generation, `id|generation|`, node, `nonce:1:`, lease, what is to be done (1 or 0 each: its output is
--         kept, its successors may be handed over; then a letter for each edge), record (of EVENT.plain, without its head), output
--       of each claim: run (position), generation, node, `nonce:1:`, lease, stream (position), entry
-- reply a list: ok, a letter for each finished (d done, s slow) and each claim (r run, s slow), number of tokens that are handed over; then of each of
--       these: position of the finished item that it follows, node, and `=` when it has its predecessor's output and no other, or its sources, and the
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
local function join(run, edge, letter, arrived)
  local target = edge[2]
  if get(run, FIELD.execution .. target) then return nil end -- it fired early: the arrival is absorbed
  local counts = arrived[FIELD.arrivals .. target] or get(run, FIELD.arrivals .. target) or '0,0,0'
  local t, n, f, rest = match(counts, '^(%d+),(%d+),(%d+)(.*)$')
  t, n = tonumber(t), tonumber(n)
  if letter == ARRIVAL.taken then t = t + 1 else n = n + 1 end
  arrived[FIELD.arrival .. edge[1]] = letter
  arrived[FIELD.arrivals .. target] = t .. ',' .. n .. ',' .. f .. rest
  return decide(edge[5], edge[4], t, n, tonumber(f))
end

-- The nodes whose taken arrivals a join fires on, as text; nil: it is wide, or not plain.
local function sources_of(run, ir, target, arrived)
  local incoming = read_ir(ir, ADJACENCY.into .. target)
  if not incoming then return nil end
  local fields, sources = {}, {}
  for index, edge in ipairs(incoming) do
    if edge[3] then return nil end
    fields[index] = FIELD.arrival .. edge[1]
  end
  get_many(run, fields)
  for index, edge in ipairs(incoming) do
    if (arrived[fields[index]] or run.cache[fields[index]]) == ARRIVAL.taken then sources[#sources + 1] = edge[2] end
  end
  return concat(sources, ',')
end

-- Adds the outputs of these sources to the reply.
local function tell_outputs(run, sources, own)
  local outputs = {}
  for source in gmatch(sources, '%d+') do outputs[#outputs + 1] = FIELD.output .. source end
  get_many(run, outputs)
  local own_output = own and FIELD.output .. own
  for _, field in ipairs(outputs) do reply[#reply + 1] = field == own_output and ANSWER.own or run.cache[field] or '' end
end

-- What the item on hand sets off, until it is known that all of it is plain.
local fired, sources_fired = {}, {}
local NONE = {}

-- Finds out what the arrivals of an execution come to. Answers how many targets fire and what joins count; nil: it is not plain.
local function look_ahead(run, ir, node, edges, flags)
  local arrived, count = NONE, 0
  for index, edge in ipairs(edges) do
    if edge[7] and (edge[7] > 0 or edge[9] > 0 or edge[11] == 1) then return nil end
    local letter, fan_in, target = sub(flags, index + 2, index + 2), edge[4], edge[2]
    local verdict, sources
    if fan_in > 1 then
      if arrived == NONE then arrived = {} end
      verdict = join(run, edge, letter, arrived)
      if verdict == 'fire' then
        sources = sources_of(run, ir, target, arrived)
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

-- One finished execution. Everything is found out before anything of it is noted.
local function finish(base, position)
  local ir, node, hand_out, lease, flags = ARGV[base + 1], ARGV[base + 4], ARGV[base + 5], ARGV[base + 6], ARGV[base + 7]
  local field = FIELD.execution .. node
  local run, state = open(ARGV[base], ARGV[base + 2], field)
  local active = EXECUTION.active .. ':' .. hand_out .. '1:'
  if not state or sub(state, 1, #active) ~= active then return false end
  local edges = read_ir(ir, ADJACENCY.out .. node)
  if not edges or #edges >= part or #edges > edges_left then return false end
  local count, arrived = look_ahead(run, ir, node, edges, flags)
  if not count then return false end

  -- From here on nothing is otherwise any more.
  edges_left = edges_left - #edges
  local cache, sets, head = run.cache, run.sets, ARGV[base + 3]
  local size = #sets
  if sub(flags, 1, 1) == '1' then
    local output = FIELD.output .. node
    cache[output] = ARGV[base + 9]
    sets[size + 1], sets[size + 2] = output, ARGV[base + 9]
    size = size + 2
  end
  for name, value in pairs(arrived) do
    cache[name] = value
    sets[size + 1], sets[size + 2] = name, value
    size = size + 2
  end
  local activated, handed, may_hand = '', '', sub(flags, 2, 2) == '1'
  for index = 1, count do
    local edge, sources = fired[index], sources_fired[index]
    local target, queue = edge[2] .. '', edge[6]
    local hands = may_hand and take > 0 and reads[queue] and edge[10] ~= 1
    local name = FIELD.execution .. target
    local value = EXECUTION.active .. ':' .. new_hand_out .. '1:' .. (hands and worker or '') .. ':' .. sources
    cache[name] = value
    sets[size + 1], sets[size + 2] = name, value
    size = size + 2
    activated = activated .. (index == 1 and '' or ' ') .. target .. ':' .. sources
    if hands then
      take, handed_over = take - 1, handed_over + 1
      handed = handed .. (handed == '' and '' or ',') .. target .. (sub(lease, 1, #queue + 1) == queue .. '|' and '' or '!' .. queue)
      local told = #reply
      reply[told + 1], reply[told + 2] = position .. '', target
      if sources == node then reply[told + 3] = ANSWER.own_alone
      else
        reply[told + 3] = sources
        tell_outputs(run, sources, node)
      end
      local last = #leased
      leased[last + 1], leased[last + 2] = lease_until, queue .. '|' .. head .. target .. '||1|1|' .. nonce
    else
      local last = #queued
      queued[last + 1], queued[last + 2] = stream[queue], TOKEN.execution .. '|' .. head .. digests[ir] .. '|' .. target .. '||1|1|' .. nonce
    end
  end
  local ended = EXECUTION.completed .. ':' .. hand_out .. handed
  cache[field] = ended
  sets[size + 1], sets[size + 2] = field, ended
  local first_event, counter, zero = run.events + 1, run.counter - 1 + count, ''
  run.events, run.counter = first_event, counter
  if counter == 0 then
    run.events, run.status, zero = first_event + 1, STATUS.completed, STATUS.completed
    ring()
  end
  local last = #journal
  journal[last + 1], journal[last + 2] = EVENT.plain, first_event .. '|' .. activated .. '|' .. zero .. '|' .. ARGV[base + 8]
  journal[last + 3], journal[last + 4] = '', ARGV[base + 9]
  released[#released + 1] = lease
  return true
end

local function claim(base)
  local field, hand_out = FIELD.execution .. ARGV[base + 2], ARGV[base + 3]
  local run, state = open(ARGV[base], ARGV[base + 1], field, true)
  local active = EXECUTION.active .. ':' .. hand_out .. '1:'
  if not state or sub(state, 1, #active) ~= active then return false end
  local holder, sources = match(state, '^([^:]*):([%d,]*)$', #active + 1)
  if not holder or (holder ~= '' and holder ~= worker) then return false end
  local entry = ARGV[base + 6]
  if not match(entry, '^%d+%-%d+$') then return false end
  local value, size, last = active .. worker .. ':' .. sources, #run.sets, #leased
  run.cache[field] = value
  run.sets[size + 1], run.sets[size + 2] = field, value
  reply[#reply + 1] = sources
  if sources ~= '' then tell_outputs(run, sources) end
  reply[#reply + 1] = get(run, RUN.input)
  leased[last + 1], leased[last + 2] = lease_until, ARGV[base + 4]
  local key = KEYS[tonumber(ARGV[base + 5])]
  note({ 'XACK', key, 'workers', entry })
  note({ 'XDEL', key, entry })
  return true
end

for position = 1, finished do
  words[position] = finish(at, position) and ANSWER.done or ANSWER.slow
  at = at + 10
end
for position = 1, claims do
  words[finished + position] = claim(at) and ANSWER.runs or ANSWER.slow
  at = at + 7
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
  local size = #sets
  if size > 4 then
    sets[4] = run.generation .. ',' .. run.counter .. ',' .. run.events .. (run.status and ',1' or ',')
    if run.status then sets[size + 1], sets[size + 2] = RUN.status, run.status end
    note(sets)
  end
end
for index = 1, #queued, 2 do note({ 'XADD', queued[index], '*', 't', queued[index + 1] }) end
if #released > 2 then note(released) end
if #leased > 2 then note(leased) end
return commit_list(reply)
