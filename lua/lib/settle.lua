-- Arrivals: what a resolved execution sends along its edges, and what they do to their targets (DESIGN 2.3, 3).
--
-- Work is a stack of {node, scope, position of the next edge, mode}, deepest first. Mode says what each edge carries:
--   `=tnf…` per edge as the worker routed it · T taken on every edge · X failed on every edge, from this node · U skipped as
--   upstream_failed, from the origin behind the letter · N not taken
-- or what else is to be done, a bounded part at a time:
--   A the next iteration of a loop begins · F items of a map begin · E entries of an item begin · D results of a map are dropped, up to the
--   number behind the letter · C what an item or iteration left behind is cleared · W executions are withdrawn by the node
-- At most `call.limit` edges are settled in one call; what remains is kept (FIELD.rest) and becomes one settle token. A large rest lies
-- in parts, of which a call reads those that it comes to: {w work, b name of the part below}. Each part counts 1 in the scopes that it is in,
-- but in the run's own counter only for work of which executions may come: the run is over with the last of these.
-- Modes A, F, E, D, C are bodies.lua's, W is withdraw.lua's.


local function mode_arrival(mode, position, on)
  local kind = string.sub(mode, 1, 1)
  if kind == MODE.routed then return string.sub(mode, position + 1, position + 1) end
  if kind == MODE.taken then return ARRIVAL.taken end
  if kind == MODE.failed then return ARRIVAL.failed end
  if kind == MODE.upstream_failed and on ~= ON.failure then return ARRIVAL.failed end
  return ARRIVAL.not_taken
end

local function taken_sources(run, target, scope)
  local incoming, fields = edges_of(run, ADJACENCY.into .. target), {}
  local sources = { wide = not incoming }
  if not incoming then return sources end
  for index, edge in ipairs(incoming) do fields[index] = FIELD.arrival .. edge[1] .. at_scope(scope) end
  get_many(run, fields)
  for index, edge in ipairs(incoming) do
    if get(run, fields[index]) == ARRIVAL.taken then sources[#sources + 1] = { edge[2], edge[3] or 0 } end
  end
  return sources
end

local function nodes_of(sources)
  if #sources == 0 then return nil end
  local nodes = {}
  for index, source in ipairs(sources) do nodes[index] = source[1] end
  return nodes
end

-- from: the node whose arrival decided it, or `B` and the map whose item begins. Handed over is only what follows the finished node itself,
-- and the item that takes the place of the one that it ended: the worker said what these need (`needs`), not what others do.
local function activate(step, run, edge, from, scope, sources)
  local target, queue = edge[2], edge[6]
  if is_stopping(run) then -- the rest of a step that was taken before the run was halted
    put(run, FIELD.execution .. target .. at_scope(scope), table.concat({ EXECUTION.cancelled, step.call.call, '1', '' }, ':'))
    step.activated[#step.activated + 1] = { target, scope, nodes_of(sources) }
    step.cancelled[#step.cancelled + 1] = { target, scope, 1 }
    run.events = run.events + 1
    return
  end
  local permitted = run.permits == 0 or run.holding < run.permits
  local follows = step.hand == from or (step.hand_items and string.sub(from, 1, 1) == BEGINNING.item)
  local handed = follows and permitted and edge[10] ~= 1 and not run.paused and step.call.take > 0
    and step.call.reads[queue] and not step.unoffered[target]
  count(run, scope, 1)
  put_active(run, FIELD.execution .. target .. at_scope(scope), step.call.call, 1, 1,
    handed and step.call.worker or run.paused and ASIDE.paused or '', sources)
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

-- An execution is over that did not run: what its edges carry is to be settled, if it has any. So no rest is nothing but a formality.
local function lead_on(run, node, scope, mode, work)
  if one_of(run, ADJACENCY.out .. node, 1) then work[#work + 1] = { node, scope, 1, mode } end
end

local function skip(step, run, target, scope, reason, origin, work)
  put(run, FIELD.execution .. target .. at_scope(scope), EXECUTION.skipped .. ':' .. reason .. ':' .. (origin or ''))
  step.skipped[#step.skipped + 1] = { target, scope, reason, origin and tonumber(origin) or nil }
  run.events = run.events + 1
  lead_on(run, target, scope, reason == 'upstream_failed' and MODE.upstream_failed .. origin or MODE.not_taken, work)
end

-- Counts one arrival at a join; answers the new counts and the origin of the failure on its first failed edge.
local function count_arrival(run, edge, scope, kind, origin)
  local target, at = edge[2], at_scope(scope)
  local taken, not_taken, failed, first, first_origin = 0, 0, 0, nil, nil
  local counted = edge[4] > 1 and get(run, FIELD.arrivals .. target .. at)
  if counted then
    local t, n, f, e, o = string.match(counted, '^(%d+),(%d+),(%d+),?(%d*),?(%d*)$')
    taken, not_taken, failed, first, first_origin = tonumber(t), tonumber(n), tonumber(f), tonumber(e), o
  end
  if kind == ARRIVAL.taken then taken = taken + 1 elseif kind == ARRIVAL.not_taken then not_taken = not_taken + 1 else failed = failed + 1 end
  if kind == ARRIVAL.failed and (not first or edge[1] < first) then first, first_origin = edge[1], origin end
  if edge[4] > 1 then
    put(run, FIELD.arrival .. edge[1] .. at, kind)
    local failure = first and ',' .. integer(first) .. ',' .. first_origin or ''
    put(run, FIELD.arrivals .. target .. at, taken .. ',' .. not_taken .. ',' .. failed .. failure)
  end
  return taken, not_taken, failed, first_origin
end

-- One arrival at one target, in the target's scope.
local function arrive(step, run, edge, from, scope, kind, origin, work)
  local target, fan_in, rule = edge[2], edge[4], edge[5]
  -- Fired early: a late arrival is absorbed.
  if get(run, FIELD.execution .. target .. at_scope(scope)) or bodies.was_entered(run, edge, scope) then return end
  local taken, not_taken, failed, first_origin = count_arrival(run, edge, scope, kind, origin)
  local verdict = decide(rule, fan_in, taken, not_taken, failed)
  if not verdict then return end
  bodies.enter(run, edge, scope)
  if verdict == 'fire' then
    local sources = {}
    if fan_in > 1 then sources = taken_sources(run, target, scope)
    elseif kind == ARRIVAL.taken and tonumber(from) then sources = { { tonumber(from), edge[9] or 0 } } end
    activate(step, run, edge, from, scope, sources)
    if edge[11] == 1 then table.insert(work, 1, { target, scope, 1, MODE.withdrawals }) end -- once all arrivals of the step are settled
  elseif verdict == 'failed' then
    skip(step, run, target, scope, 'upstream_failed', first_origin, work)
  elseif verdict == 'not_taken' then
    skip(step, run, target, scope, 'not_taken', nil, work)
  end
end

-- One edge, or one part of other work; answers true when the entry is done with.
local function settle_part(step, run, top, work)
  local node, scope, mode = top[1], top[2], top[4]
  local other = modes[string.sub(mode, 1, 1)]
  if other then return other(step, run, top, work) end
  local edge = one_of(run, ADJACENCY.out .. node, top[3])
  if not edge then return true end
  local kind = mode_arrival(mode, top[3], edge[3])
  local origin = string.sub(mode, 1, 1) == MODE.upstream_failed and string.sub(mode, 2) or integer(tonumber(node) or 0)
  top[3] = top[3] + 1
  arrive(step, run, edge, node, cross(scope, edge), kind, origin, work)
  -- All that a node sends is in before what follows from it, whatever the order of its edges.
  if work[#work] ~= top then work[#work], work[#work - 1] = top, work[#work] end
  -- With its last edge it is done with: a long chain makes no deep stack.
  if not one_of(run, ADJACENCY.out .. node, top[3]) then work[#work] = nil end
end

-- Work that keeps no run from its end: it tidies what goes with the run's keys, begins items of a map, which counts itself, or withdraws
-- executions, each of which counts while it is not over.
local TIDYING = { [MODE.items] = true, [MODE.results] = true, [MODE.scope] = true, [MODE.withdrawals] = true }

-- A settle token holds the counters of the scopes that its work is in.
local function count_rest(run, work, delta)
  local known = {}
  for _, entry in ipairs(work) do
    local scope = entry[2] == '' and '' or counted_scope(run, entry[2])
    local counts = scope ~= '' or not TIDYING[string.sub(entry[4], 1, 1)]
    if counts and not known[scope] then
      count(run, scope, delta)
      known[scope] = true
    end
  end
end

-- Keeps work of which the last is to be done first, above a part that was kept before; answers the name of the uppermost part.
local function keep_rest(step, run, work, below)
  for first = 1, #work, limits.rest do
    local part = {}
    for index = first, math.min(first + limits.rest - 1, #work) do part[#part + 1] = work[index] end
    run.rests = (run.rests or 0) + 1
    local name = FIELD.rest .. integer(run.events) .. '.' .. run.rests .. '.' .. step.call.call
    put(run, name, cjson.encode({ w = part, b = below }))
    count_rest(run, part, 1)
    below = name
  end
  return below
end

-- Takes up work that was kept, but for what is dead by now; answers it and the name of the part below.
local function take_rest(run, name)
  local rest, alive = cjson.decode(get(run, name)), {}
  count_rest(run, rest.w, -1)
  put(run, name, false)
  for _, entry in ipairs(rest.w) do
    if bodies.are_alive(run, entry[2], -1) then alive[#alive + 1] = entry end
  end
  return alive, rest.b
end

-- Where the outcome hangs on the order of steps (ir, `ordered`), what a step left over comes before all else of its run: else an execution
-- that is to be withdrawn might go on, and one that is activated later be withdrawn with those. Whatever comes in between does some of it.
local function note_rest(run, name, is_left)
  local names = {}
  for other in string.gmatch(run.rests_first or '', '[^,]+') do
    if other ~= name then names[#names + 1] = other end
  end
  if is_left then names[#names + 1] = name end
  run.rests_first = #names > 0 and table.concat(names, ',')
  put(run, RUN.rests, run.rests_first)
end

-- The rest that comes first; nil: none does.
local function first_rest(run) return run.status == STATUS.running and run.rests_first and string.match(run.rests_first, '^[^,]+') end

-- Does work until none is left, there and in the parts below, or the limit is reached; answers the name of what is kept then.
local function settle(step, run, work, below)
  local progressed = false
  if below and run.rests_first then note_rest(run, below, false) end
  while #work > 0 or below do
    if step.call.limit <= 0 and progressed then
      local name = keep_rest(step, run, work, below)
      if edges_of(run, ADJACENCY.ordered) then note_rest(run, name, true) end
      return name
    end
    if #work == 0 then
      work, below = take_rest(run, below)
      step.call.limit = step.call.limit - math.ceil(#work / 10)
    else
      local top = work[#work]
      step.call.limit = step.call.limit - 1
      progressed = true
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
end

-- Applies the deltas, innermost scopes first: what a scope's zero sets off (the next iteration, the next item) may count again.
local function balance(step, run, work)
  local deepest, depth = {}, -1
  for scope in pairs(run.deltas) do
    local _, components = string.gsub(scope, ':', '')
    if components > depth then deepest, depth = {}, components end
    if components == depth then deepest[#deepest + 1] = scope end
  end
  for _, scope in ipairs(deepest) do
    local delta = run.deltas[scope]
    run.deltas[scope] = nil
    if scope == '' then
      run.counter = run.counter + delta
    else
      local field = SCOPE.counter .. '@' .. scope
      local before = tonumber(get(run, field) or '0')
      put(run, field, before + delta > 0 and integer(before + delta))
      bodies.counted(step, run, scope, before, before + delta, work)
    end
  end
  return depth >= 0
end

-- Of settle tokens: each worker reads it, whatever queues are its own.
local SETTLE_QUEUE = '~settle'

-- Settles, leaves what is over the limit behind as a settle token, and tests the counter for zero. `below` names work that was kept.
local function settle_and_count(step, run, work, below)
  repeat
    local rest = settle(step, run, work, below)
    if rest then step.queued[#step.queued + 1] = { run = run, settle = rest, queue = SETTLE_QUEUE } end
    work, below = {}, nil
  until not balance(step, run, work) and #work == 0
  if step.halt and not run.halted then
    run.halted = step.halt
    step.halted = step.halt
  end
  test_zero(step, run)
end
