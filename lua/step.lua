#!lua flags=allow-oom
-- The atomic step of plain executions (DESIGN 2), as `advance` would do it: completed, outside of bodies, of runs that are neither paused nor
-- halted, with nothing about them that the general step is needed for. Whatever is otherwise is answered `slow`, with nothing written of it:
-- its worker sends it to `advance`, on the same state. So this script knows one way only, and is short.
-- KEYS  1 meta · 2 journal · 3 leases · 4 nudge · then, at the positions that the call names: streams, runs, IRs
-- ARGV  1 layout · 2 installation · 3 epoch · 4 timeline · 5 call · 6 now · 7 worker · 8 lease_ms · 9 take · 10 most edges · 11 parts (limits.part)
--       12 number of queues · 13 number of finished · 14 number of claims; then
--       of each queue: name, position of its ready stream, 1 if the worker reads it
--       of each finished: run, ir (positions), token (`n|id|generation|digest|`), generation, node, attempt, nonce, queue, arrivals (letters), keep,
--         hand, record (JSON without its end), detail, output, output for the journal
--       of each claim: run (position), token, generation, node, attempt, nonce, queue, stream (position), entry
-- reply a list: ok, a word for each finished (done | slow), a word for each claim (run | slow); then of each token: position of the finished item
--       that it follows, from 1, or minus that of the claim · node · attempt · nonce · sources · number of inputs, and each (- its predecessor's
--       own; empty: none) · the run's input (empty: the worker has it). Or refused.
-- Journal: as of advance, f.
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/rules.lua
--@include lib/state.lua

local meta = read_meta(KEYS[1])
local call = { layout = ARGV[1], installation = ARGV[2], epoch = ARGV[3], timeline = ARGV[4], call = ARGV[5], now = tonumber(ARGV[6]) }
local word = refusal(meta, call)
if word then return refuse(word) end

-- Numbers are written as Lua does it: none has more than 14 digits.
local match, sub, concat = string.match, string.sub, table.concat

local nonce, worker, take, edges_left, part = call.call, ARGV[7], tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local queues, finished, claims, at = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), 15
local stream, reads = {}, {}
for _ = 1, queues do
  stream[ARGV[at]], reads[ARGV[at]] = KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2] == '1'
  at = at + 3
end

local runs, order = {}, {}
local reply, tokens, queued, acknowledged = { 'ok' }, {}, {}, {}
local journal = { 'XADD', KEYS[2], '', 'call', nonce, 'at', ARGV[6] }
local HEAD = #journal
local released, leased = { 'ZREM', KEYS[3] }, { 'ZADD', KEYS[3] }
local lease_until = clock() + tonumber(ARGV[8])

-- The run, with the state of one of its executions; nil: it is not one of those that this script knows.
local function open(position, generation, field)
  local run = runs[position]
  if run == nil then
    local main = redis.call('HMGET', KEYS[position], RUN.generation, RUN.counter, RUN.events, RUN.status, RUN.halted, RUN.paused,
      RUN.permits, RUN.compensating, RUN.rests, RUN.unhandled, field)
    local plain = main[1] and main[4] == STATUS.running and not main[5] and main[6] ~= '1' and (not main[7] or main[7] == '0')
      and not main[8] and not main[9]
    run = plain and { key = KEYS[position], generation = main[1], counter = tonumber(main[2]), events = tonumber(main[3]),
      unhandled = main[10], cache = { [field] = main[11] }, changes = {} } or false
    runs[position] = run
    if run then order[#order + 1] = run end
  end
  if run and run.generation == generation and not run.status then return run end
end

local known = {}
local function read_ir(position, field)
  local name = position .. field
  if known[name] == nil then
    local packed = redis.call('HGET', KEYS[position], field)
    known[name] = packed and cjson.decode(packed) or false
  end
  return known[name]
end

-- What an arrival at a join comes to. `arrived` has what this item brought before. Answers the new counts, or false: it is not plain.
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

-- What the outputs of these sources are, for the reply.
local function inputs_of(run, sources, own)
  local fields, inputs = {}, {}
  for source in string.gmatch(sources, '%d+') do
    if source ~= own then fields[#fields + 1] = FIELD.output .. source end
  end
  get_many(run, fields)
  for source in string.gmatch(sources, '%d+') do
    inputs[#inputs + 1] = source == own and '-' or run.cache[FIELD.output .. source] or ''
  end
  return inputs
end

-- One finished execution. Everything is found out before anything of it is noted.
local function finish(base, position)
  local node, attempt, item_nonce, queue, arrivals = ARGV[base + 4], ARGV[base + 5], ARGV[base + 6], ARGV[base + 7], ARGV[base + 8]
  local ir, token, field = tonumber(ARGV[base + 1]), ARGV[base + 2], FIELD.execution .. node
  local run = open(tonumber(ARGV[base]), ARGV[base + 3], field)
  if not run then return false end
  local prefix = concat({ EXECUTION.active, item_nonce, '1', attempt, '' }, ':')
  local state = get(run, field)
  if not state or sub(state, 1, #prefix) ~= prefix then return false end
  local edges = read_ir(ir, ADJACENCY.out .. node)
  if not edges or #edges >= part or #edges > edges_left then return false end

  local joins = {}
  for _, edge in ipairs(edges) do
    if #edge > 6 and (edge[7] > 0 or edge[9] > 0 or edge[11] == 1) then return false end
    if edge[4] > 1 then joins[#joins + 1] = FIELD.execution .. edge[2] joins[#joins + 1] = FIELD.arrivals .. edge[2] end
  end
  if #joins > 0 then get_many(run, joins) end
  local arrived, fired, seen = {}, {}, {}
  for index, edge in ipairs(edges) do
    local letter = sub(arrivals, index, index)
    local verdict, sources
    if edge[4] > 1 then
      verdict = join(run, edge, letter, arrived)
      if verdict == 'fire' then
        sources = sources_of(run, ir, edge[2], arrived)
        if not sources then return false end
      end
    else
      local taken = letter == ARRIVAL.taken and 1 or 0
      verdict = decide(edge[5], 1, taken, 1 - taken, 0)
      sources = taken == 1 and node or ''
    end
    if verdict and verdict ~= 'fire' then return false end -- a skip, and what follows from it
    if verdict and seen[edge[2]] then return false end -- two edges lead there
    if verdict then
      if not stream[edge[6]] then return false end
      seen[edge[2]] = true
      fired[#fired + 1] = { node = edge[2], queue = edge[6], sources = sources, guarded = edge[10] == 1 }
    end
  end
  local ends = run.counter - 1 + #fired == 0
  if ends and run.unhandled then return false end

  -- From here on nothing is otherwise any more.
  edges_left = edges_left - #edges
  local changes, cache = run.changes, run.cache
  local function put(name, value)
    cache[name], changes[name] = value, value
  end
  local first_event = run.events + 1
  run.events, run.counter = first_event, run.counter - 1 + #fired
  for name, value in pairs(arrived) do put(name, value) end
  if ARGV[base + 9] == '1' then put(FIELD.output .. node, ARGV[base + 13]) end
  local activated, handed = {}, {}
  for index, target in ipairs(fired) do
    local hands = ARGV[base + 10] == '1' and take > 0 and reads[target.queue] and not target.guarded
    put(FIELD.execution .. target.node, concat({ EXECUTION.active, nonce, '1', '1', hands and worker or '', target.sources }, ':'))
    activated[index] = '[' .. target.node .. ',""' .. (target.sources == '' and '' or ',[' .. target.sources .. ']') .. ']'
    local kept = token .. target.node .. '||1|1|' .. nonce
    if hands then
      take = take - 1
      handed[#handed + 1] = target.node .. (target.queue == queue and '' or '!' .. target.queue)
      tokens[#tokens + 1] = { run, position, target.node, '1', nonce, target.sources, node }
      leased[#leased + 1], leased[#leased + 2] = lease_until, target.queue .. '|' .. kept
    else
      queued[#queued + 1] = { stream[target.queue], kept }
    end
  end
  put(field, concat({ EXECUTION.completed, item_nonce, '1', concat(handed, ',') }, ':'))
  local record = ARGV[base + 11] .. ',"q":' .. first_event
  if #activated > 0 then record = record .. ',"activated":[' .. concat(activated, ',') .. ']' end
  if ends then
    run.events, run.status = run.events + 1, STATUS.completed
    record = record .. ',"zero":"' .. STATUS.completed .. '"'
    ring()
  end
  local detail, output = ARGV[base + 12], ARGV[base + 14]
  local last = #journal
  journal[last + 1], journal[last + 2], journal[last + 3], journal[last + 4], journal[last + 5], journal[last + 6] =
    EVENT.finished, record .. '}', 'd', detail, 'o', output
  released[#released + 1] = queue .. '|' .. token .. node .. '||' .. attempt .. '|1|' .. item_nonce
  return true
end

local function claim(base, position)
  local node, attempt, item_nonce = ARGV[base + 3], ARGV[base + 4], ARGV[base + 5]
  local field = FIELD.execution .. node
  local run = open(tonumber(ARGV[base]), ARGV[base + 2], field)
  if not run then return false end
  local state = get(run, field)
  local prefix = concat({ EXECUTION.active, item_nonce, '1', attempt, '' }, ':')
  if not state or sub(state, 1, #prefix) ~= prefix then return false end
  local holder, sources = match(state, '^([^:]*):(.*)$', #prefix + 1)
  if (holder ~= '' and holder ~= worker) or not match(sources, '^[%d,]*$') then return false end
  if not match(ARGV[base + 8], '^%d+%-%d+$') then return false end
  run.changes[field] = prefix .. worker .. ':' .. sources
  run.cache[field] = run.changes[field]
  tokens[#tokens + 1] = { run, -position, node, attempt, item_nonce, sources, false }
  leased[#leased + 1] = lease_until
  leased[#leased + 1] = ARGV[base + 6] .. '|' .. ARGV[base + 1] .. node .. '||' .. attempt .. '|1|' .. item_nonce
  acknowledged[#acknowledged + 1] = { KEYS[tonumber(ARGV[base + 7])], ARGV[base + 8] }
  return true
end

for position = 1, finished do
  reply[#reply + 1] = finish(at, position) and 'done' or 'slow'
  at = at + 15
end
for position = 1, claims do
  reply[#reply + 1] = claim(at, position) and 'run' or 'slow'
  at = at + 9
end
for _, token in ipairs(tokens) do
  local run, inputs = token[1], inputs_of(token[1], token[6], token[7])
  local count = #reply
  reply[count + 1], reply[count + 2], reply[count + 3], reply[count + 4] = token[2] .. '', token[3] .. '', token[4], token[5]
  reply[count + 5], reply[count + 6] = token[6], #inputs .. ''
  for index, input in ipairs(inputs) do reply[count + 6 + index] = input end
  reply[#reply + 1] = token[7] and '' or get(run, RUN.input)
end

if #journal > HEAD then
  local seq = meta.seq + 1
  journal[3] = seq .. '-0'
  note(journal)
  note({ 'HSET', KEYS[1], 'seq', seq })
  appended(seq, KEYS[4])
end
for _, run in ipairs(order) do
  if next(run.changes) then
    local sets = { 'HSET', run.key, RUN.counter, run.counter, RUN.events, run.events }
    if run.status then sets[7], sets[8] = RUN.status, run.status end
    for field, value in pairs(run.changes) do
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    end
    note(sets)
  end
end
for _, one in ipairs(queued) do note({ 'XADD', one[1], '*', 't', one[2] }) end
for _, one in ipairs(acknowledged) do
  note({ 'XACK', one[1], 'workers', one[2] })
  note({ 'XDEL', one[1], one[2] })
end
if #released > 2 then note(released) end
if #leased > 2 then note(leased) end
return commit_list(reply)
