-- One run's state, read through a cache; what changed is written once, at the end. Its fields: fields.lua.

-- What other libraries add: the work of a mode, answering true when it is done; and what they know of scopes.
local modes, bodies = {}, { write = function() end }

local function integer(number) return string.format('%.0f', number) end

-- What is read off a scope, once in each call: `@` and the scope, the scope around it, id and number (text) of its innermost component.
local known_scopes = { [''] = { at = '', outer = '' } }

local function parts_of(scope)
  local parts = known_scopes[scope]
  if not parts then
    local outer, last = string.match(scope, '^(.*)/([^/]*)$')
    local id, number = string.match(last or scope, '^(.*):(%d+)$')
    parts = { at = '@' .. scope, outer = outer or '', id = id, number = number }
    known_scopes[scope] = parts
  end
  return parts
end

local function at_scope(scope) return parts_of(scope).at end

local function last_component(scope)
  local parts = parts_of(scope)
  return parts.id, parts.number
end

local function strip_scope(scope, count)
  for _ = 1, count do scope = parts_of(scope).outer end
  return scope
end

local function join_scope(scope, more)
  if more == '' then return scope end
  if scope == '' then return more end
  return scope .. '/' .. more
end

-- The scope in which an edge arrives that leaves in this one.
local function cross(scope, edge)
  if not edge[7] then return scope end
  return join_scope(strip_scope(scope, edge[7]), edge[8])
end

local function open_run(key, ir_key, id)
  local main = redis.call('HMGET', key, RUN.digest, RUN.counts, RUN.status, RUN.unhandled, RUN.halted, RUN.paused, RUN.permits, RUN.holding,
    RUN.last_command, RUN.compensating, RUN.rests)
  local generation, counter, events = string.match(main[2] or '', '^(%d+),(%d+),(%d+),')
  if main[1] and not generation then error('the counts of run ' .. id .. ' are ' .. tostring(main[2])) end
  return {
    key = key, ir_key = ir_key, id = id, exists = main[1] ~= false,
    digest = main[1], generation = generation, counter = tonumber(counter or '0'), events = tonumber(events or '0'),
    status = main[3], unhandled = main[4], halted = main[5], paused = main[6] == '1',
    permits = tonumber(main[7] or '0'), holding = tonumber(main[8] or '0'), last_command = tonumber(main[9] or '0'),
    compensating = main[10], rests_first = main[11], deltas = {}, cache = {}, writes = {}, opened = {}, closed = {}, aside_removed = {}, changed = false,
  }
end

-- Halted: nothing new begins, what waits is withdrawn. What undoes a halted run's work is exempt.
local function is_stopping(run) return run.halted and not run.compensating end

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

-- How much this call may do, as it says.
local limits

-- One of a list that lies in parts; nil behind its end.
local function one_of(run, field, position)
  local part = math.floor((position - 1) / limits.part)
  local list = edges_of(run, part == 0 and field or field .. '+' .. integer(part))
  return list and list[(position - 1) % limits.part + 1]
end

local function body_of(run, id) return edges_of(run, ADJACENCY.component .. id) end

local function has_ir(run)
  if run.has_ir == nil then run.has_ir = redis.call('HEXISTS', run.ir_key, ADJACENCY.complete) == 1 end
  return run.has_ir
end

-- The innermost enclosing scope with a counter of its own.
local function counted_scope(run, scope)
  while scope ~= '' do
    local id = last_component(scope)
    if body_of(run, id).c then return scope end
    scope = strip_scope(scope, 1)
  end
  return ''
end

-- The innermost enclosing map item; '' outside of maps.
local function item_scope(run, scope)
  while scope ~= '' do
    local id = last_component(scope)
    if body_of(run, id).k == 'map' then return scope end
    scope = strip_scope(scope, 1)
  end
  return ''
end

-- Deltas are applied together, at the end of a step: no false zero in between.
local function count(run, scope, delta)
  if scope ~= '' then scope = counted_scope(run, scope) end
  run.deltas[scope] = (run.deltas[scope] or 0) + delta
end

-- Is there anything about the run that the small step does not know of?
local function is_special(run)
  return run.status ~= STATUS.running or run.halted or run.paused or run.permits > 0 or run.unhandled or run.compensating or run.rests_first
end

local function write_run(run)
  if not run.changed then return end
  bodies.write(run)
  put(run, RUN.counts, table.concat({ run.generation, integer(run.counter), integer(run.events), is_special(run) and '1' or '' }, ','))
  put(run, RUN.status, run.status)
  if run.unhandled then put(run, RUN.unhandled, run.unhandled) end
  if run.halted then put(run, RUN.halted, run.halted) end
  if run.compensating then put(run, RUN.compensating, run.compensating) end
  if run.permits > 0 then put(run, RUN.holding, integer(run.holding)) end
  local sets, deletes = {}, {}
  for field, value in pairs(run.writes) do
    if value == false then
      deletes[#deletes + 1] = field
    else
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    end
  end
  write_all('HSET', run.key, sets)
  write_all('HDEL', run.key, deletes)
  for _, text in ipairs(run.aside_removed) do write('LREM', run.parked_key, 1, text) end
  for _, parked in ipairs(run.aside or {}) do
    if parked.new then write('RPUSH', run.parked_key, parked.text) end
  end
  write_all('SADD', run.scopes_key, run.opened)
  write_all('SREM', run.scopes_key, run.closed)
end

local function parse_execution(state)
  local kind, nonce, delivery, rest = string.match(state or '', '^(%u):([^:]*):(%d+):(.*)$')
  return kind, nonce, tonumber(delivery), rest
end

-- attempt, worker, sources [{node, further out}] (or none, but `wide`)
local function parse_active(rest)
  local attempt, worker, sources = string.match(rest, '^(%d+):([^:]*):(.*)$')
  local list = { wide = sources == '*' }
  for node, out in string.gmatch(sources, '(%d+)%^?(%d*)') do list[#list + 1] = { tonumber(node), tonumber(out) or 0 } end
  return tonumber(attempt), worker, list
end

local function put_active(run, field, nonce, delivery, attempt, worker, sources)
  local texts = {}
  for index, source in ipairs(sources) do
    texts[index] = source[2] > 0 and integer(source[1]) .. '^' .. integer(source[2]) or integer(source[1])
  end
  put(run, field, table.concat({ EXECUTION.active, nonce, integer(delivery), integer(attempt), worker, sources.wide and '*' or table.concat(texts, ',') }, ':'))
end

-- Does this worker's name stand for a worker, and not for a place where the execution was put?
local function is_held(worker) return worker ~= '' and worker ~= ASIDE.paused and worker ~= ASIDE.permits end

-- Sets the final status when nothing is outstanding; every script asks. A paused run waits for its resume. What is to be compensated
-- comes first: the reader goes on with that.
local function test_zero(step, run)
  run.changed = true
  if run.counter > 0 or run.status ~= STATUS.running or run.paused then return end
  local verdict = run.compensating
  if not verdict then verdict = run.halted == 'cancel' and STATUS.cancelled or (run.halted or run.unhandled) and STATUS.failed or STATUS.completed end
  if verdict ~= STATUS.completed and tonumber(get(run, RUN.compensations) or '0') > 0 then
    run.compensating = verdict
    step.compensating = true
    return
  end
  run.status = verdict
  run.events = run.events + 1
  step.zero = verdict
end
