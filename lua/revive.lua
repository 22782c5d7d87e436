#!lua flags=allow-oom
-- For a run that has shown no activity for long: executions that lie nowhere (no token in a stream, no lease, no timer, no event that they wait
-- for) are handed out again. Called for all nodes and open map items in turn, a bounded number at a time.
-- KEYS  1 meta · 2 journal · 3 leases · 4 timers · 5 run · 6 IR · then nudge and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, nudge, id, looked_through, queues, scopes [scope], nodes [{node, queue, loops, function_stream?, function_suspects?}]}
-- reply {word: ok, revived, alive} | refused | ir_missing
-- Journal: l, one for each execution handed out again.
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
--@include lib/losses.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local run = open_run(KEYS[5], KEYS[6], call.id)
local step, journal, revived, alive = new_step(call), {}, 0, 0

local known_streams = {}

-- A long stream is not looked through: the token is taken to be there, and comes to light when the others are gone.
local function is_in(stream, token)
  if not stream then return true end
  local known = known_streams[stream]
  if not known then
    known = { is_long = redis.call('XLEN', stream) > call.looked_through }
    for _, entry in ipairs(known.is_long and {} or redis.call('XRANGE', stream, '-', '+')) do known[entry[2][2]] = true end
    known_streams[stream] = known
  end
  return known.is_long or known[token]
end

local function in_reach(node, scope, state)
  if state.worker == ASIDE.paused or state.worker == ASIDE.permits then return true end
  local waits = get(run, FIELD.waits .. node.node .. at_scope(scope))
  if waits == PARK.signal or waits == PARK.child then return true end
  if waits == PARK.items then return false end -- as far as its items are
  local token = { run = run, queue = node.queue, node = node.node, scope = scope, attempt = state.attempt,
    delivery = state.delivery, nonce = state.nonce }
  if state.worker ~= '' then return redis.call('ZSCORE', KEYS[3], lease_of(run, token)) end
  local kept, text = kept_token(token), encode_token(token)
  local suspects = stream_of(call, suspects_of(node.queue))
  return redis.call('ZSCORE', KEYS[4], kept) or is_in(stream_of(call, node.queue), text)
    or node.function_stream and is_in(KEYS[node.function_stream], text) or suspects and is_in(suspects, text)
    or node.function_suspects and is_in(KEYS[node.function_suspects], text)
end

local function revive(node, scope)
  local field = FIELD.execution .. node.node .. at_scope(scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if kind ~= EXECUTION.active then return end
  local attempt, worker, sources = parse_active(rest)
  if in_reach(node, scope, { worker = worker, attempt = attempt, delivery = delivery, nonce = nonce }) then
    alive = alive + 1
    return
  end
  if get(run, FIELD.waits .. node.node .. at_scope(scope)) == PARK.items then return end
  revived = revived + 1
  run.events = run.events + 1
  run.changed = true
  take_back_permits(run, node.node, worker)
  put_active(run, field, nonce, delivery + 1, attempt, '', sources)
  step.queued[#step.queued + 1] = { run = run, queue = node.queue, node = node.node, scope = scope, attempt = attempt,
    delivery = delivery + 1, nonce = nonce }
  journal[#journal + 1] = EVENT.redelivered
  journal[#journal + 1] = cjson.encode({ id = run.id, g = tonumber(run.generation), q = run.events, node = node.node, scope = scope,
    attempt = attempt, delivery = delivery + 1 })
end

if run.exists and run.status == STATUS.running then
  if redis.call('HEXISTS', KEYS[6], ADJACENCY.complete) == 0 then return commit({ word = 'ir_missing' }) end
  for _, base in ipairs(call.scopes) do
    for _, node in ipairs(call.nodes) do
      local scope = live_scope(run, base, node.loops or {})
      if scope and is_alive(run, scope, node.node) then revive(node, scope) end
    end
  end
  if #journal > 0 then append_journal(meta, call, KEYS[2], journal) end
  write_run(run)
  emit_queued(step)
end
return commit({ word = 'ok', revived = revived, alive = alive })
