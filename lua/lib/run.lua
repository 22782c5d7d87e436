-- One run's state, read through a cache; what changed is written once, at the end.
--
-- run (hash): d IR digest · c generation,counter,number of the last event,1 if anything is special about the run (`is_special`; else empty)
--   · s status (R, C, F, X) · u first unhandled failure (`node@scope`) · i input · x why it was halted (cancel, time_out, fail_fast, stuck) · p 1 while paused · k last command applied
--   m executions that may hold a worker at once · h those that do (only with m) · y<name> permits of a semaphore that are taken
--   n<node><@scope>  the execution: `A:nonce:delivery:attempt:worker:source,source…` active (worker empty: queued, timed or waiting;
--                    ~ put aside while the run is paused, % put aside until another gives its permit back;
--                    a source is `node`, or `node^k` when its output is kept k components further out; `*` at a wide join: all that sent a taken arrival)
--                    `C|F:nonce:delivery:handed,handed…` resolved, with what went straight to the worker that resolved it
--                    `S:reason:origin` skipped · `X:nonce:delivery:` cancelled
--   p<node><@scope>  an execution that waits: w for a time, s for a signal, m for its items, c for its child run; and once it was woken:
--                    S<payload> by a signal, C<payload> by its child, M<how they ended> by its items, K<counts> to ask complete_when
--   f<node><@scope>  workers that were lost with the execution (see losses.lua)
--   a<node><@scope>  arrivals counted at a join: taken,not taken,failed, and with a failure: first failed edge, the node it stems from
--   e<edge><@scope>  one arrival at a join: t, n, or f<index of the failed node>
--   o<node><@scope>  output: j<JSON> or b<name of a blob>; a loop node's is kept one component further out
--   t<node><@scope>  1: a node of a map's body that took none of its edges, and so ended its item; kept where its output is
--   c@<scope>        counter of a scope of its own (map items; iterations of loops in which something may still go on)
--   u@<scope>        first unhandled failure of a map item (node index)
--   i<node><@scope>  of a loop node: its current iteration · L@<scope> of an iteration: the next one follows when its counter is zero
--   M<node><@scope>  of a map node (see bodies.lua) · r<node><@scope>#item.terminal  results of its items (#item.x: it failed, #item.e: none of several terminals completed)
--   b<node><@scope>  of a map that is gone: items of it are still to be withdrawn, by that node, which counts 1
--   s<name>, S, l, E, F  who waits for a signal, and signals that nobody waited for (see waiting.lua)
--   K, K<number>     completed executions that can be compensated, in order of completion · z compensating: the verdict · Z what is being performed for it, `node@scope`
--   w<number>        work still to be done (see settle.lua) · V names of such that comes before all else, with commas
-- ir (hash): o<node> outgoing edges [[edge, to, on, fan-in of to, rule of to, queue of to, …], …] and, unless all of them are zero, behind it:
--   scopes left, components entered (`poll:1`), number of these, 1 if `to` is claimed before it runs (guards) · i<node> of a join that is not
--   wide (such has its arrivals looked through by the worker): incoming edges [[edge, from, components entered], …] · oroot the entry nodes, oB<node> those of a map's body, ob<node> that of a loop,
--   in the same form · B<id> the body of that component {k loop|map, n node, c counted} · m<node> what the body is like, k<node> fields of a scope
--   of it (bodies.lua) · g<node> guards · x<node> when the node withdraws {at}, X<node> whom · ordered, when the outcome hangs on the order of steps · complete, when all of it is there
--   A long list (o, X, k) lies in parts of `limits.part`: o3, o3+1, …

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

local function body_of(run, id) return edges_of(run, 'B' .. id) end

local function has_ir(run)
  if run.has_ir == nil then run.has_ir = redis.call('HEXISTS', run.ir_key, 'complete') == 1 end
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
  if verdict ~= STATUS.completed and tonumber(get(run, 'K') or '0') > 0 then
    run.compensating = verdict
    step.compensating = true
    return
  end
  run.status = verdict
  run.events = run.events + 1
  step.zero = verdict
end
