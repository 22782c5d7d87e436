#!lua flags=allow-oom
-- Brings executions of some nodes in line with their run: waiting ones of a halted run are cancelled, those of a resumed run get their tokens
-- back, and all of an item whose map is gone are withdrawn.
-- Called for all nodes and open map items in turn, a bounded number at a time; repeating it changes nothing.
-- KEYS  1 meta · 2 journal · 3 timers · 4 run · 5 IR · 6 parked · 7 scopes · then nudge and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, limit, limits, id, queues, scopes [scope], nodes [{node, queue, loops}], last, burials}: in each of the
--         scopes each node, with the loops around it; last: no more of these nodes are to come; burials [[map, scope]]: nothing of their items is left
-- reply {word: ok, changed} | refused | ir_missing
-- Journal: w, when anything was withdrawn, or nothing is outstanding any more.
--@include lib/fence.lua
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
local run = open_run(KEYS[4], KEYS[5], call.id)
run.parked_key, run.scopes_key = KEYS[6], KEYS[7]
local step, timed, changed = new_step(call), {}, 0

local function withdraw_waiting(node, scope, attempt, delivery, nonce)
  local waits = get(run, FIELD.waits .. node.node .. at_scope(scope))
  if waits == PARK.child then return end -- its child is cancelled first
  changed = changed + 1
  if waits == PARK.items or (waits and wait_for_items(run, node.node, scope)) then return settle_map(step, run, node.node, scope) end
  timed[#timed + 1] = kept_token({ run = run, queue = node.queue, node = node.node, scope = scope, attempt = attempt, delivery = delivery, nonce = nonce })
  withdraw(step, run, node.node, scope)
end

-- The node by which this scope was withdrawn: with the innermost map around it that left items behind.
local function buried_by(base)
  local gone
  local scope = base
  while scope ~= '' do
    local body = body_of(run, last_component(scope))
    local outer = strip_scope(scope, 1)
    if body.k == 'map' then
      local by = get(run, FIELD.burial .. body.n .. at_scope(outer))
      if by then return tonumber(by) end
      local map = read_map(run, body.n, outer)
      if not map or map.stopped then gone = body.n end
    end
    scope = outer
  end
  return gone
end

local function bury(node, scope, by)
  local kind, nonce, delivery, rest = parse_execution(get(run, FIELD.execution .. node.node .. at_scope(scope)))
  if kind ~= EXECUTION.active then return end
  local attempt = parse_active(rest)
  timed[#timed + 1] = kept_token({ run = run, queue = node.queue, node = node.node, scope = scope, attempt = attempt, delivery = delivery, nonce = nonce })
  withdraw(step, run, node.node, scope, by)
  changed = changed + 1
end

local function bring_in_line(node, scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, FIELD.execution .. node.node .. at_scope(scope)))
  if kind ~= EXECUTION.active then return end
  local attempt, worker, sources = parse_active(rest)
  if is_stopping(run) and not is_held(worker) then return withdraw_waiting(node, scope, attempt, delivery, nonce) end
  if is_stopping(run) or run.paused or worker ~= ASIDE.paused then return end
  put_active(run, FIELD.execution .. node.node .. at_scope(scope), nonce, delivery, attempt, '', sources)
  step.queued[#step.queued + 1] = { run = run, queue = node.queue, node = node.node, scope = scope, attempt = attempt,
    delivery = delivery, nonce = nonce }
  run.changed = true
  changed = changed + 1
end

if run.exists and run.status == STATUS.running then
  if redis.call('HEXISTS', KEYS[5], ADJACENCY.complete) == 0 then return commit({ word = 'ir_missing' }) end
  local first_event = run.events + 1
  for _, base in ipairs(call.scopes) do
    local gone = not is_alive(run, base, -1) and buried_by(base)
    local places, fields = {}, {}
    for index, node in ipairs(call.nodes) do
      places[index] = live_scope(run, base, node.loops or {}) or false
      if places[index] then fields[#fields + 1] = FIELD.execution .. node.node .. at_scope(places[index]) end
    end
    get_many(run, fields)
    for index, node in ipairs(call.nodes) do
      if places[index] and gone then bury(node, places[index], gone)
      elseif places[index] then bring_in_line(node, places[index]) end
    end
    if gone and call.last then run.closed[#run.closed + 1] = base end
  end
  for _, burial in ipairs(call.burials or {}) do
    local field = FIELD.burial .. burial[1] .. at_scope(burial[2])
    if get(run, field) then
      put(run, field, false)
      count(run, '', -1)
      changed = changed + 1
    end
  end
  if #run.closed > 0 then run.changed = true end
  if changed > 0 then settle_and_count(step, run, {}) end
  if run.events >= first_event or step.compensating then
    append_journal(meta, call, KEYS[2], { EVENT.settled, journal_record(step, run, first_event, {}), 'd', '', 'o', '' })
  end
  write_run(run)
  emit_queued(step)
  drop_timers(step, KEYS[3])
  write_all('ZREM', KEYS[3], timed)
end
return commit({ word = 'ok', changed = changed })
