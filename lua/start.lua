#!lua
-- Starts accepted runs: their entry nodes get tokens. Each is answered by its own word. Refused on low memory (no allow-oom flag), after
-- the deadline, and for a run that was ever started here before (its state or its tombstone stands).
-- KEYS  1 meta · 2 journal · 3 timers · then run, tombstone, IR, nudge and ready-stream keys at the positions that the call names
-- ARGV  1 JSON {layout, epoch, timeline, call, now, deadline, limit (of each run), limits, nudge, queues {name: position}, runs [...]};
--       then inputs (j<JSON>) at the positions that the call names
--   runs: {run, tombstone, ir, input, id, generation, digest, permits, timeout_ms?, paused?}: paused when its parent is: what it begins
--         with is put aside
-- reply JSON {word: ok, runs [started | exists | gone | late | ir_missing]}, or refused
-- Journal: one entry, when any run started: s for each.
--@include lib/fence.lua
--@include lib/clock.lua
--@include lib/writes.lua
--@include lib/letters.lua
--@include lib/fields.lua
--@include lib/state.lua
--@include lib/run.lua
--@include lib/emit.lua
--@include lib/permits.lua
--@include lib/rules.lua
--@include lib/settle.lua
--@include lib/waiting.lua
--@include lib/withdraw.lua
--@include lib/bodies.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
limits = call.limits
call.take, call.worker, call.reads = 0, '', {}

-- A call that was held up on its way carries a stale time of its own.
local now = clock()
local is_late = now > call.deadline
local per_run, journal = call.limit, {}
-- Runs that this call starts, by their keys.
local begun = {}

-- What runs of one IR share, by its key: whether it is there, and its edges.
local shared = {}

local function shared_of(ir_key)
  local of = shared[ir_key]
  if not of then
    of = { adjacency = {}, complete = redis.call('HEXISTS', ir_key, ADJACENCY.complete) == 1 }
    shared[ir_key] = of
  end
  return of
end

-- What runs of an IR begin with when each entry node gets a token at once and nothing else is to be noted; false: they do not.
local function plain_of(of, ir_key)
  if of.plain ~= nil then return of.plain end
  local edges = edges_of({ ir_key = ir_key, adjacency = of.adjacency }, ADJACENCY.out .. BEGINNING.run) or {}
  of.plain = #edges > 0 and #edges <= per_run and #edges < limits.part and { fields = {}, tokens = {} }
  local activated = {}
  for index, edge in ipairs(edges) do
    if edge[7] or decide(edge[5], edge[4], 1, 0, 0) ~= 'fire' then of.plain = false end
    if not of.plain then return false end
    of.plain.fields[index] = FIELD.execution .. integer(edge[2])
    of.plain.tokens[index] = { queue = edge[6], text = table.concat({ '', integer(edge[2]), '', '1', '1', call.call }, '|') }
    activated[index] = { edge[2], '' }
  end
  if of.plain then of.plain.activated = cjson.encode(activated) end
  return of.plain
end

-- As `begin_any`, without what such a run does not need.
local function begin_plain(item, plain)
  local generation, count = integer(item.generation), integer(#plain.fields)
  local counts = table.concat({ generation, count, '1', item.permits > 0 and '1' or '' }, ',')
  local fields = { RUN.digest, item.digest, RUN.counts, counts, RUN.input, ARGV[item.input], RUN.status, STATUS.running }
  if item.permits > 0 then
    for _, value in ipairs({ RUN.permits, integer(item.permits), RUN.holding, '0' }) do fields[#fields + 1] = value end
  end
  for _, field in ipairs(plain.fields) do
    fields[#fields + 1] = field
    fields[#fields + 1] = EXECUTION.active .. ':' .. call.call .. ':1:1::'
  end
  write_all('HSET', KEYS[item.run], fields)
  local run = table.concat({ TOKEN.execution, item.id, generation, item.digest }, '|')
  for _, token in ipairs(plain.tokens) do
    write('XADD', stream_of(call, token.queue), '*', 't', run .. token.text)
  end
  return '{"id":"' .. item.id .. '","g":' .. generation .. ',"q":1,"activated":' .. plain.activated .. '}'
end

local function begin_any(item, of)
  local run = open_run(KEYS[item.run], KEYS[item.ir], item.id)
  run.adjacency = of.adjacency
  run.digest, run.generation, run.events, run.status, run.permits = item.digest, integer(item.generation), 1, STATUS.running, item.permits
  put(run, RUN.digest, item.digest)
  put(run, RUN.input, ARGV[item.input])
  if run.permits > 0 then put(run, RUN.permits, integer(run.permits)) end
  if item.paused then
    run.paused, run.events = true, 2
    put(run, RUN.paused, '1')
  end
  local step = new_step(call)
  call.limit = per_run
  settle_and_count(step, run, { { BEGINNING.run, '', 1, MODE.taken } })
  write_run(run)
  emit_queued(step)
  return journal_record(step, run, 1, { paused = item.paused })
end

local function word_against(item, of)
  if is_late then return 'late' end
  if redis.call('EXISTS', KEYS[item.tombstone]) == 1 then return 'gone' end
  if begun[item.run] or redis.call('EXISTS', KEYS[item.run]) == 1 then return 'exists' end
  if not of.complete then return 'ir_missing' end
end

local function start(item)
  local ir_key = KEYS[item.ir]
  local of = shared_of(ir_key)
  local refused = word_against(item, of)
  if refused then return refused end
  begun[item.run] = true
  local plain = not item.paused and plain_of(of, ir_key)
  journal[#journal + 1] = EVENT.started
  journal[#journal + 1] = plain and begin_plain(item, plain) or begin_any(item, of)
  if item.timeout_ms then
    ring_before(now + item.timeout_ms, now)
    write('ZADD', KEYS[3], integer(now + item.timeout_ms), '!|time_out|' .. item.id .. '|' .. integer(item.generation))
  end
  return 'started'
end

local words = {}
for index, item in ipairs(call.runs) do words[index] = start(item) end
if #journal > 0 then append_journal(meta, call, KEYS[2], journal) end
return commit({ word = 'ok', runs = words })
