-- Bodies: what is executed in scopes of its own, once for each iteration of a loop or item of a map.
--
-- A map node waits while its items run; their executions count in their own scopes alone. So an item whose map is gone (withdrawn, or
-- ended early) is dead: whatever is held of it is stale, and the reader withdraws what is left of it (`sweep`), for which the run waits.

local function map_field(node, scope) return FIELD.map .. node .. at_scope(scope) end

-- The same table for all of a call; whoever changes it says so.
local function read_map(run, node, scope)
  local field = map_field(node, scope)
  run.maps = run.maps or {}
  local map = run.maps[field]
  if map then return map end
  local packed = get(run, field)
  if not packed then return nil end
  local list = {}
  for value in string.gmatch(packed, '-?%d+') do list[#list + 1] = tonumber(value) end
  map = { total = list[1], next = list[2], open = list[3], over = list[4], failed = list[5], first = list[6], culprit = list[7],
    closed = list[8] == 1, unseen = list[9] == 1, stopped = list[10] == 1 }
  run.maps[field] = map
  return map
end

local function new_map(run, node, scope)
  local map = { total = 0, next = 0, open = 0, over = 0, failed = 0, first = 0, culprit = 0 }
  run.maps[map_field(node, scope)] = map
  return map
end

local function map_changed(run, node, scope)
  run.maps_changed = run.maps_changed or {}
  run.maps_changed[map_field(node, scope)] = true
end

function bodies.drop_map(run, node, scope)
  local field = map_field(node, scope)
  if run.maps then run.maps[field] = nil end
  if run.maps_changed then run.maps_changed[field] = nil end
  put(run, field, false)
end

function bodies.write(run)
  for field in pairs(run.maps_changed or {}) do
    local map = run.maps[field]
    put(run, field, table.concat({ integer(map.total), integer(map.next), integer(map.open), integer(map.over), integer(map.failed),
      integer(map.first), integer(map.culprit), map.closed and '1' or '0', map.unseen and '1' or '0', map.stopped and '1' or '0' }, ','))
  end
end

-- Does this execution undo another one's work? Then it comes after its map, and counts in the run's own counter.
local function is_undoing(run, scope, node)
  return run.compensating and get(run, RUN.undoing) == integer(node) .. at_scope(scope)
end

-- Do all maps around this execution still work on it?
local function is_alive(run, scope, node)
  if scope == '' then return true end
  if scope ~= '' and is_undoing(run, scope, node) then return true end
  scope = item_scope(run, scope)
  while scope ~= '' do
    local id = last_component(scope)
    local outer = strip_scope(scope, 1)
    local map = read_map(run, body_of(run, id).n, outer)
    if not map or map.stopped then return false end
    scope = item_scope(run, outer)
  end
  return true
end

bodies.are_alive = is_alive

-- A map goes while items of it are under way, withdrawn by a node or ended by itself.
function bodies.leave(run, node, scope, by)
  local map = read_map(run, node, scope)
  if not map or map.open == 0 then return end
  put(run, FIELD.burial .. node .. at_scope(scope), integer(by))
  count(run, '', 1)
  ring()
end

-- A loop's entry was reached: its first iteration begins.
function bodies.enter(run, edge, scope)
  for _ = 1, edge[9] or 0 do
    local id = last_component(scope)
    scope = strip_scope(scope, 1)
    put(run, FIELD.iteration .. body_of(run, id).n .. at_scope(scope), '1')
  end
end

-- Was the loop that this edge enters entered before? The state of its first iteration may be cleared by now.
function bodies.was_entered(run, edge, scope)
  if not edge[9] or edge[9] == 0 then return false end
  local id = last_component(strip_scope(scope, edge[9] - 1))
  return get(run, FIELD.iteration .. body_of(run, id).n .. at_scope(strip_scope(scope, edge[9])))
end

-- Clears a part of what a scope left behind; answers true when that was the last. `outer` is the scope around it.
local function clear_part(step, run, node, scope, part, outer, work)
  local at = at_scope(scope)
  local fields = edges_of(run, part == 0 and ADJACENCY.scope_fields .. node or ADJACENCY.scope_fields .. node .. '+' .. integer(part))
  step.call.limit = step.call.limit - math.floor(#(fields or {}) / 10)
  for _, field in ipairs(fields or {}) do put(run, field .. at, false) end
  if fields and #fields == limits.part then return false end
  for _, loop in ipairs(edges_of(run, ADJACENCY.body .. node).loops) do
    local current = tonumber(get(run, FIELD.iteration .. loop .. at) or '0')
    local id = edges_of(run, ADJACENCY.body .. loop).id
    for iteration = math.max(1, current - 1), current do
      work[#work + 1] = { loop, outer, 1, MODE.scope .. join_scope(scope, id .. ':' .. iteration) }
    end
    put(run, FIELD.iteration .. loop .. at, false)
  end
  put(run, SCOPE.counter .. at, false)
  put(run, SCOPE.unhandled .. at, false)
  return true
end

local function clear_scope(step, run, node, scope, work)
  local outer = strip_scope(scope, 1)
  if not clear_part(step, run, node, scope, 0, outer, work) then work[#work + 1] = { node, outer, 2, MODE.scope .. scope } end
end

modes[MODE.scope] = function(step, run, top, work)
  top[3] = top[3] + 1
  return clear_part(step, run, top[1], string.sub(top[4], 2), top[3] - 2, top[2], work)
end

-- The next iteration. What the one before the last left is cleared; the last one's is still asked for by repeated calls.
modes[MODE.iteration] = function(step, run, top, work)
  local node, scope = top[1], top[2]
  local id, iteration = last_component(scope)
  local outer = strip_scope(scope, 1)
  local edge = edges_of(run, ADJACENCY.out .. BEGINNING.iteration .. node)[1]
  local following = join_scope(outer, id .. ':' .. integer(iteration + 1))
  put(run, FIELD.iteration .. node .. at_scope(outer), integer(iteration + 1))
  local inner = join_scope(following, edge[8] or '')
  if inner ~= following then bodies.enter(run, { [9] = (edge[9] or 0) - 1 }, inner) end
  activate(step, run, edge, node, inner, { { node, edge[9] or 1 } })
  if tonumber(iteration) > 1 then clear_scope(step, run, node, join_scope(outer, id .. ':' .. integer(iteration - 1)), work) end
  return true
end

-- Does the map node go on? When all items are over, when it was ended early, when complete_when is to be asked, or when the run is halted.
local function settle_map(step, run, node, scope)
  local map, info = read_map(run, node, scope), edges_of(run, ADJACENCY.body .. node)
  if not map then return end
  local is_over = map.stopped or (map.open == 0 and map.next >= map.total and map.closed)
  local is_asked = info.asks and map.unseen
  if not is_over and not is_asked and not is_stopping(run) then return end
  if get(run, FIELD.waits .. node .. at_scope(scope)) ~= PARK.items or not is_alive(run, scope, node) then return end
  if is_stopping(run) then return (map.open == 0 or map.stopped) and withdraw(step, run, node, scope) end
  if not is_over then
    map.unseen = false
    map_changed(run, node, scope)
    wake(step, run, node, scope, info.queue,
      WOKEN.asked .. cjson.encode({ completed = map.over - map.failed, failed = map.failed, total = map.total }))
    return
  end
  local told = { total = map.total, failed = map.failed, stopped = map.stopped or nil }
  if map.failed > 0 then told.first, told.culprit = map.first, map.culprit end
  wake(step, run, node, scope, info.queue, WOKEN.items .. cjson.encode(told))
end

-- What else an entry of an item costs, in edges.
local ENTRY_COST = 1

-- Entries of an item begin, a part of them at a time.
modes[MODE.entries] = function(step, run, top)
  local node, item = top[1], top[2]
  for position = top[3], top[3] + limits.entries - 1 do
    local edge = one_of(run, ADJACENCY.out .. BEGINNING.item .. node, position)
    if not edge then return true end
    local inner = join_scope(item, edge[8] or '')
    bodies.enter(run, edge, inner)
    activate(step, run, edge, BEGINNING.item .. node, inner, {})
    step.call.limit = step.call.limit - ENTRY_COST
  end
  top[3] = top[3] + limits.entries
end

-- A halted run's map is withdrawn when its items are over, whatever it was woken for. Answers whether it waits for them.
local function wait_for_items(run, node, scope)
  local map = read_map(run, node, scope)
  if not map or map.stopped or map.open == 0 then return false end
  local field = FIELD.execution .. node .. at_scope(scope)
  local _, nonce, delivery, rest = parse_execution(get(run, field))
  local attempt, _, sources = parse_active(rest)
  put(run, FIELD.waits .. node .. at_scope(scope), PARK.items)
  put_active(run, field, nonce, delivery, attempt, '', sources)
  run.changed = true
  return true
end

-- In place of a position: one item begins, for one that is over. Where there is more room, as while the first ones begin, who began them goes on.
local ONE = 0

-- Items begin, as many as the window has room for.
modes[MODE.items] = function(step, run, top, work)
  local node, scope = top[1], top[2]
  local info = edges_of(run, ADJACENCY.body .. node)
  local map = read_map(run, node, scope)
  if not map or is_stopping(run) or not is_alive(run, scope, node) or map.stopped or map.next >= map.total or map.open >= info.window then
    settle_map(step, run, node, scope)
    return true
  end
  local item = join_scope(scope, info.id .. ':' .. integer(map.next))
  map.next = map.next + 1
  map.open = map.open + 1
  map_changed(run, node, scope)
  run.opened[#run.opened + 1] = item
  local entries = { node, item, 1, MODE.entries }
  if not modes[MODE.entries](step, run, entries) then work[#work + 1] = entries end
  if top[3] ~= ONE then return end
  settle_map(step, run, node, scope)
  return true
end

-- Results that were gathered are dropped: `D` and their number, `x` behind it when some items failed.
modes[MODE.results] = function(step, run, top)
  local node, scope, first = top[1], top[2], top[3]
  local total, failed = string.match(top[4], '^%u(%d+)(%l?)$')
  local last = math.min(first + limits.results - 1, tonumber(total))
  local info = edges_of(run, ADJACENCY.body .. node)
  for item = first, last do
    local field = FIELD.results .. node .. at_scope(scope) .. '#' .. integer(item - 1) .. '.'
    for _, list in ipairs({ info.results, info.ends }) do
      for _, ending in ipairs(list) do put(run, field .. ending, false) end
    end
    if failed == ITEM.failed then put(run, field .. ITEM.failed, false) end
    if #info.results > 1 then put(run, field .. ITEM.empty, false) end
  end
  step.call.limit = step.call.limit - (#info.results + #info.ends) * limits.results / 2
  if last >= tonumber(total) then return true end
  top[3] = last + 1
end

local function item_over(step, run, node, scope, work)
  local outer = strip_scope(scope, 1)
  local _, item = last_component(scope)
  local map, info = read_map(run, node, outer), edges_of(run, ADJACENCY.body .. node)
  if not map or map.stopped then return end
  map.open = map.open - 1
  map.over = map.over + 1
  map.unseen = true
  local culprit = get(run, SCOPE.unhandled .. at_scope(scope))
  if culprit then
    map.failed = map.failed + 1
    put(run, FIELD.results .. node .. at_scope(outer) .. '#' .. item .. '.' .. ITEM.failed, '1')
    if map.failed == 1 or tonumber(item) < map.first then map.first, map.culprit = tonumber(item), tonumber(culprit) end
  else
    local is_empty = true
    local function keep(ending)
      local output = get(run, FIELD.output .. ending .. at_scope(scope))
      if output and string.sub(output, 1, 1) ~= OUTPUT.error then
        is_empty = false
        put(run, FIELD.results .. node .. at_scope(outer) .. '#' .. item .. '.' .. ending, output)
      end
    end
    for _, terminal in ipairs(info.results) do keep(terminal) end
    for _, ending in ipairs(info.ends) do
      if get(run, FIELD.ended_item .. ending .. at_scope(scope)) then keep(ending) end
    end
    if is_empty and #info.results > 1 then put(run, FIELD.results .. node .. at_scope(outer) .. '#' .. item .. '.' .. ITEM.empty, '1') end
  end
  map_changed(run, node, outer)
  clear_scope(step, run, node, scope, work)
  run.closed[#run.closed + 1] = scope
  local top = work[#work]
  local begins = top and top[4] == MODE.items and top[3] ~= ONE and top[1] == node and top[2] == outer
  if not begins then work[#work + 1] = { node, outer, ONE, MODE.items } end
end

-- The counter of a scope changed.
function bodies.counted(step, run, scope, before, after, work)
  local id = last_component(scope)
  local body = body_of(run, id)
  if body.k == 'map' then
    if after == 0 then item_over(step, run, body.n, scope, work) end
    return
  end
  local outer = strip_scope(scope, 1)
  if before == 0 and after > 0 then count(run, outer, 1) end
  if before > 0 and after == 0 then
    count(run, outer, -1)
    if get(run, SCOPE.goes_round .. at_scope(scope)) then
      put(run, SCOPE.goes_round .. at_scope(scope), false)
      work[#work + 1] = { body.n, scope, 1, MODE.iteration }
    end
  end
end

-- A map node waits: at first, or again with items that were added.
local function park_map(step, run, item)
  local map = read_map(run, item.node, item.scope) or new_map(run, item.node, item.scope)
  map.total = map.total + item.total
  map.closed = map.closed or item.closes
  if item.stops and not map.stopped then bodies.leave(run, item.node, item.scope, item.node) end
  map.stopped = map.stopped or item.stops
  map_changed(run, item.node, item.scope)
  settle_and_count(step, run, { { item.node, item.scope, 1, MODE.items } })
  if map.closed then return end
  -- Asked before it takes a signal, also where more items are to begin than this call does.
  settle_map(step, run, item.node, item.scope)
  if get(run, FIELD.waits .. item.node .. at_scope(item.scope)) == PARK.items then
    await_signal(step, run, item.signal, item.node, item.scope, item.queue)
  end
end
