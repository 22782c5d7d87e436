-- Withdrawal: an execution that is no longer wanted is CANCELLED at once; what its worker still answers is stale.

-- by: the node that withdraws it; nil: the run is halted. work: takes what follows from it; nil: nothing does.
local function withdraw(step, run, node, scope, by, work)
  local at = at_scope(scope)
  local field = FIELD.execution .. node .. at
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if kind ~= EXECUTION.active then return false end
  local attempt, worker = parse_active(rest)
  put(run, field, table.concat({ EXECUTION.cancelled, nonce, integer(delivery), '' }, ':'))
  count(run, scope, -1)
  run.events = run.events + 1
  run.changed = true
  local guarded = edges_of(run, ADJACENCY.guards .. node)
  if is_held(worker) then give_back_permits(step, run, guarded, node)
  elseif worker ~= ASIDE.permits then pass_permits_on(step, run, guarded, node) end
  if get(run, FIELD.waits .. node .. at) then
    put(run, FIELD.waits .. node .. at, false)
    leave_line(run, node, scope)
    if work then bodies.leave(run, node, scope, by) end
    bodies.drop_map(run, node, scope)
  end
  step.cancelled[#step.cancelled + 1] = { node, scope, attempt, by }
  if work then lead_on(run, node, scope, MODE.not_taken, work) end
  return true
end

-- The scope in which nodes inside these loops (outer first) are executed now; nil: it was not entered.
local function live_scope(run, scope, loops)
  for _, loop in ipairs(loops) do
    local iteration = get(run, FIELD.iteration .. loop .. at_scope(scope))
    if not iteration then return nil end
    scope = join_scope(scope, edges_of(run, ADJACENCY.body .. loop).id .. ':' .. iteration)
  end
  return scope
end

modes[MODE.withdrawals] = function(step, run, top, work)
  local node, position = top[1], top[3]
  local target = one_of(run, ADJACENCY.withdrawn .. node, position)
  if not target then return true end
  top[3] = position + 1
  local scope = live_scope(run, top[2], target[2] or {})
  if scope then
    if target[3] then forget_timer(step, run, target[1], scope, target[3]) end
    withdraw(step, run, target[1], scope, node, work)
  end
  return not one_of(run, ADJACENCY.withdrawn .. node, position + 1)
end

-- What an event withdraws, as work.
local function withdrawals_of_event(run, node, scope)
  local withdraws = edges_of(run, ADJACENCY.withdrawal .. node)
  return withdraws and withdraws.at == 'event' and { { node, scope, 1, MODE.withdrawals } } or {}
end
