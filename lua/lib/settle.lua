-- Arrivals: what a resolved execution sends along its edges, and what they do to their targets (DESIGN 2.3, 3).
--
-- Work is a stack of {node, scope, position of the next edge, mode}, deepest first. Mode says what each edge carries:
--   `=tnf…` per edge as the worker routed it · X failed on every edge, from this node · U skipped as upstream_failed, from
--   the origin behind the letter · N not taken
-- or what else is to be done, a bounded part at a time:
--   A the next iteration of a loop begins · F items of a map begin · D results of a map are dropped, up to the number behind the letter ·
--   W executions are withdrawn by the node
-- At most `call.limit` edges are settled in one call; what remains becomes one settle token that counts 1 in the scopes concerned.
-- Modes A, F, D are bodies.lua's, W is withdraw.lua's.


local function mode_arrival(mode, position, on)
  local kind = string.sub(mode, 1, 1)
  if kind == '=' then return string.sub(mode, position + 1, position + 1) end
  if kind == 'X' then return 'f' end
  if kind == 'U' and on ~= 'f' then return 'f' end
  return 'n'
end

-- 'fire', 'failed' or 'not_taken' (skip, with that reason), or nil (wait). Firing may be early, skipping never is.
local function decide(rule, fan_in, taken, not_taken, failed)
  local all_in = taken + not_taken + failed >= fan_in
  if rule == 'one_success' and taken > 0 then return 'fire' end
  if rule == 'one_failed' and failed > 0 then return 'fire' end
  local quorum = tonumber(string.match(rule, '^q(%d+)$'))
  if quorum and taken >= quorum then return 'fire' end
  if not all_in then return nil end
  if rule == 'all_done' then return 'fire' end
  if rule == 'all_failed' and failed >= fan_in then return 'fire' end
  if rule == 'all_failed' or rule == 'one_failed' then return 'not_taken' end
  if failed > 0 then return 'failed' end
  if rule == 'none_failed' then return 'fire' end
  if rule == 'all_success' and taken < fan_in then return 'not_taken' end
  if quorum or taken == 0 then return 'not_taken' end
  return 'fire'
end

local function join_arrivals(run, target, scope)
  local incoming = edges_of(run, 'i' .. target)
  local fields = {}
  for index, edge in ipairs(incoming) do fields[index] = 'e' .. edge[1] .. at_scope(scope) end
  get_many(run, fields)
  return incoming, fields
end

local function taken_sources(run, target, scope)
  local incoming, fields = join_arrivals(run, target, scope)
  local sources = {}
  for index, edge in ipairs(incoming) do
    if get(run, fields[index]) == 't' then sources[#sources + 1] = { edge[2], edge[3] or 0 } end
  end
  return sources
end

-- The failed node that the first failed edge (by index) stems from.
local function first_origin(run, target, scope)
  local _, fields = join_arrivals(run, target, scope)
  for _, field in ipairs(fields) do
    local arrival = get(run, field)
    if arrival and string.sub(arrival, 1, 1) == 'f' then return string.sub(arrival, 2) end
  end
end

local function nodes_of(sources)
  if #sources == 0 then return nil end
  local nodes = {}
  for index, source in ipairs(sources) do nodes[index] = source[1] end
  return nodes
end

-- from: the node whose arrival decided it. Only what follows the finished node itself is handed over: the worker said what its
-- direct successors need (`needs`), not what those behind a skipped one do.
local function activate(step, run, edge, from, scope, sources)
  local target, queue = edge[2], edge[6]
  local permitted = run.permits == 0 or run.holding < run.permits
  local handed = step.hand == from and permitted and edge[10] ~= 1 and not run.paused and step.call.take > 0
    and step.call.reads[queue]
  count(run, scope, 1)
  put_active(run, 'n' .. target .. at_scope(scope), step.call.call, 1, 1,
    handed and step.call.worker or run.paused and '~' or '', sources)
  step.activated[#step.activated + 1] = { target, scope, nodes_of(sources) }
  local token = { run = run, node = target, scope = scope, attempt = 1, delivery = 1, nonce = step.call.call, sources = sources,
    queue = queue }
  if handed then
    step.call.take = step.call.take - 1
    run.holding = run.holding + 1
    step.handed[#step.handed + 1] = token
  elseif not run.paused then
    step.queued[#step.queued + 1] = token
  end
end

local function skip(step, run, target, scope, reason, origin, work)
  put(run, 'n' .. target .. at_scope(scope), 'S:' .. reason .. ':' .. (origin or ''))
  step.skipped[#step.skipped + 1] = { target, scope, reason, origin and tonumber(origin) or nil }
  run.events = run.events + 1
  work[#work + 1] = { target, scope, 1, reason == 'upstream_failed' and 'U' .. origin or 'N' }
end

-- One arrival at one target, in the target's scope.
local function arrive(step, run, edge, from, scope, kind, origin, work)
  local target, fan_in, rule = edge[2], edge[4], edge[5]
  -- Fired early: a late arrival is absorbed.
  if get(run, 'n' .. target .. at_scope(scope)) or bodies.was_entered(run, edge, scope) then return end
  local taken, not_taken, failed = 0, 0, 0
  if fan_in > 1 then
    put(run, 'e' .. edge[1] .. at_scope(scope), kind == 'f' and 'f' .. origin or kind)
    local counted = get(run, 'a' .. target .. at_scope(scope))
    if counted then
      local t, n, f = string.match(counted, '(%d+),(%d+),(%d+)')
      taken, not_taken, failed = tonumber(t), tonumber(n), tonumber(f)
    end
  end
  if kind == 't' then taken = taken + 1 elseif kind == 'n' then not_taken = not_taken + 1 else failed = failed + 1 end
  if fan_in > 1 then
    put(run, 'a' .. target .. at_scope(scope), taken .. ',' .. not_taken .. ',' .. failed)
  end
  local verdict = decide(rule, fan_in, taken, not_taken, failed)
  if not verdict then return end
  bodies.enter(run, edge, scope)
  if verdict == 'fire' then
    local sources = {}
    if fan_in > 1 then sources = taken_sources(run, target, scope)
    elseif kind == 't' and tonumber(from) then sources = { { tonumber(from), edge[9] or 0 } } end
    activate(step, run, edge, from, scope, sources)
    if edge[11] == 1 then table.insert(work, 1, { target, scope, 1, 'W' }) end -- once all arrivals of the step are settled
  elseif verdict == 'failed' then
    skip(step, run, target, scope, 'upstream_failed', fan_in > 1 and first_origin(run, target, scope) or origin, work)
  elseif verdict == 'not_taken' then
    skip(step, run, target, scope, 'not_taken', nil, work)
  end
end

-- One edge, or one part of other work; answers true when the entry is done with.
local function settle_part(step, run, top, work)
  local node, scope, mode = top[1], top[2], top[4]
  local other = modes[string.sub(mode, 1, 1)]
  if other then return other(step, run, top, work) end
  local edges = edges_of(run, 'o' .. node)
  assert(edges, 'IR_MISSING')
  local edge = edges[top[3]]
  if not edge then return true end
  local kind = mode_arrival(mode, top[3], edge[3])
  local origin = string.sub(mode, 1, 1) == 'U' and string.sub(mode, 2) or integer(tonumber(node) or 0)
  top[3] = top[3] + 1
  arrive(step, run, edge, node, cross(scope, edge), kind, origin, work)
end

-- Answers what is left when the limit is reached.
local function settle(step, run, work)
  while #work > 0 do
    if step.call.limit <= 0 then return work end
    local top = work[#work]
    step.call.limit = step.call.limit - 1
    if settle_part(step, run, top, work) then
      for index = #work, 1, -1 do
        if work[index] == top then
          table.remove(work, index)
          break
        end
      end
    end
  end
end

-- Applies the deltas, innermost scopes first: what a scope's zero sets off (the next iteration, the next item) may count again.
local function balance(step, run, work)
  local deepest, depth = nil, -1
  for scope in pairs(run.deltas) do
    local _, components = string.gsub(scope, ':', '')
    if components > depth then deepest, depth = scope, components end
  end
  if not deepest then return end
  local delta = run.deltas[deepest]
  run.deltas[deepest] = nil
  if deepest == '' then
    run.counter = run.counter + delta
  else
    local field = 'c@' .. deepest
    local before = tonumber(get(run, field) or '0')
    put(run, field, before + delta > 0 and integer(before + delta))
    bodies.counted(step, run, deepest, before, before + delta, work)
  end
  return true
end

-- A settle token holds the counters of the scopes that its work is in.
local function count_rest(run, work, delta)
  local known = {}
  for _, entry in ipairs(work) do
    local scope = entry[2] == '' and '' or counted_scope(run, entry[2])
    if not known[scope] then count(run, scope, delta) end
    known[scope] = true
  end
end

-- Settles, leaves what is over the limit behind as a settle token, and tests the counter for zero.
local function settle_and_count(step, run, work)
  repeat
    local rest = settle(step, run, work)
    if rest then
      run.rests = (run.rests or 0) + 1
      local name = 'w' .. integer(run.events) .. '.' .. run.rests .. '.' .. step.call.call
      put(run, name, cjson.encode(rest))
      count_rest(run, rest, 1)
      step.queued[#step.queued + 1] = { run = run, settle = name, queue = step.call.settle_queue }
      work = {}
    end
  until not balance(step, run, work) and #work == 0
  if step.halt and not run.halted then
    run.halted = step.halt
    step.halted = step.halt
  end
  test_zero(step, run)
end
