-- One run's state, read through a cache and written once at the end: decide first, then write.
--
-- run (hash): d IR digest · g generation · c counter · q number of the last event · s status (R, C, F, X) · u first unhandled
--   failure (node index) · i input · x why it was halted (cancel, time_out, fail_fast, stuck) · p 1 while paused · k last command applied
--   m executions that may hold a worker at once · h those that do (only with m)
--   n<node><@scope>  the execution: `A:nonce:delivery:attempt:worker:source,source…` active (worker empty: queued or timed;
--                    ~ put aside while the run is paused, % put aside until another gives its permit back)
--                    `C|F:nonce:delivery:handed,handed…` resolved, with what went straight to the worker that resolved it
--                    `S:reason:origin` skipped · `X:nonce:delivery:` cancelled
--   a<node><@scope>  arrivals counted at a join: taken,not taken,failed
--   e<edge><@scope>  one arrival at a join: t, n, or f<index of the failed node>
--   o<node><@scope>  output: j<JSON> or b<name of a blob>
--   w<number>        arrivals still to be settled (see settle.lua)
-- ir (hash): o<node> outgoing edges [[edge, to, on, fan-in of to, rule of to, queue of to], …] · i<node> of a join: incoming
--   edges [[edge, from], …] · oroot the entry nodes in the same form

local function integer(number) return string.format('%.0f', number) end

local function at_scope(scope)
  if scope == '' then return '' end
  return '@' .. scope
end

local function open_run(key, ir_key, id)
  local main = redis.call('HMGET', key, 'd', 'g', 'c', 'q', 's', 'u', 'x', 'p', 'm', 'h', 'k')
  return {
    key = key, ir_key = ir_key, id = id, exists = main[1] ~= false,
    digest = main[1], generation = main[2], counter = tonumber(main[3] or '0'), events = tonumber(main[4] or '0'),
    status = main[5], unhandled = main[6], halted = main[7], paused = main[8] == '1',
    permits = tonumber(main[9] or '0'), holding = tonumber(main[10] or '0'), last_command = tonumber(main[11] or '0'),
    parked_taken = 0, parked_new = {}, cache = {}, writes = {}, changed = false,
  }
end

local function get(run, field)
  local value = run.cache[field]
  if value == nil then
    value = redis.call('HGET', run.key, field)
    run.cache[field] = value
  end
  return value
end

local function get_many(run, fields)
  local missing = {}
  for _, field in ipairs(fields) do
    if run.cache[field] == nil then missing[#missing + 1] = field end
  end
  for first = 1, #missing, 1000 do
    local part = {}
    for index = first, math.min(first + 999, #missing) do part[#part + 1] = missing[index] end
    local values = redis.call('HMGET', run.key, unpack(part))
    for index, field in ipairs(part) do run.cache[field] = values[index] end
  end
end

-- false deletes the field.
local function put(run, field, value)
  run.cache[field] = value
  run.writes[field] = value
end

local function edges_of(run, field)
  run.adjacency = run.adjacency or {}
  local edges = run.adjacency[field]
  if edges == nil then
    local packed = redis.call('HGET', run.ir_key, field)
    edges = packed and cjson.decode(packed)
    run.adjacency[field] = edges
  end
  return edges
end

local function write_run(run)
  if not run.changed then return end
  put(run, 'c', integer(run.counter))
  put(run, 'q', integer(run.events))
  put(run, 's', run.status)
  if run.unhandled then put(run, 'u', run.unhandled) end
  if run.halted then put(run, 'x', run.halted) end
  if run.permits > 0 then put(run, 'h', integer(run.holding)) end
  local sets, deletes = {}, {}
  for field, value in pairs(run.writes) do
    if value == false then
      deletes[#deletes + 1] = field
    else
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    end
    if #sets >= 2000 then
      redis.call('HSET', run.key, unpack(sets))
      sets = {}
    end
  end
  if #sets > 0 then redis.call('HSET', run.key, unpack(sets)) end
  if #deletes > 0 then redis.call('HDEL', run.key, unpack(deletes)) end
  if run.parked_taken > 0 then redis.call('LTRIM', run.parked_key, run.parked_taken, -1) end
  for _, kept in ipairs(run.parked_new) do redis.call('RPUSH', run.parked_key, kept) end
end

local function parse_execution(state)
  local kind, nonce, delivery, rest = string.match(state or '', '^(%u):([^:]*):(%d+):(.*)$')
  return kind, nonce, tonumber(delivery), rest
end

local function parse_active(rest)
  local attempt, worker, sources = string.match(rest, '^(%d+):([^:]*):(.*)$')
  local list = {}
  for source in string.gmatch(sources, '%d+') do list[#list + 1] = tonumber(source) end
  return tonumber(attempt), worker, list
end

local function put_active(run, field, nonce, delivery, attempt, worker, sources)
  put(run, field, table.concat({ 'A', nonce, integer(delivery), integer(attempt), worker, table.concat(sources, ',') }, ':'))
end

-- Sets the final status when nothing is outstanding; every script asks. A paused run waits for its resume.
local function test_zero(step, run)
  run.changed = true
  if run.counter > 0 or run.status ~= 'R' or run.paused then return end
  if run.halted == 'cancel' then run.status = 'X'
  elseif run.halted or run.unhandled then run.status = 'F'
  else run.status = 'C' end
  run.events = run.events + 1
  step.zero = run.status
end
