#!lua flags=allow-oom
-- The atomic step (DESIGN 2): applies finished executions, settles their arrivals, claims tokens, all in one call.
-- Runs on low memory too, as it frees more than it takes.
-- KEYS  1 meta · 2 journal · 3 leases · 4 timers · then run, parked, scopes, IR, blob, nudge and ready-stream keys at the positions that the call names
-- ARGV  1 JSON {layout, epoch, timeline, call, worker, now, lease_ms, take, limit, limits, nudge, queues {name: position}, reads {name: true},
--         finished [...], claims [...], functions (the hash), most_functions}; then payloads at the positions that the call names
--   finished: {run, ir, parked, scopes, id, g, queue, node, scope, attempt, delivery, nonce, outcome C|F|X, arrivals `=tn…` or X, unhandled, hand, hand_items,
--              unoffered [node] (targets whose functions the worker does not offer: they are not handed over),
--              forgets (field of the execution that handed this one over, of an item that is over: its reply has come), needs {target: [[node, field]]}, detail, output, journal_output, keep, keep_at, blob, halt, again, ends_item, withdraws, waits, guarded, compensation}
--          or with outcome R {…, detail, due}: this attempt failed, the next one is due at that time
--          or with outcome W {…, detail, park w|s|m|c, due, signal, total, closes, stops, blobs}: it waits
--          or {run, ir, parked, scopes, id, g, settle, stream, entry}
--   claims:   {run, ir, parked, scopes, id, g, queue, node, scope, attempt, delivery, nonce, stream, entry, needs [[node, field]], waits, withdraws,
--              guarded, unless [[node, field]], alone (it is performed with nothing else in its process)}
--          and, when the worker does not offer its function, {…, moves_to (stream), function (field)}
-- reply JSON {word: ok, finished [{word}], claims [{word}], tokens [...]} then payloads (outputs, inputs), or refused. The worker reads by itself
--   what a wide join ran on.
--   finished: done | duplicate (its owed tokens come again) | stale | gone | ir_missing | busy (to be called again: it did other work of the run)
--   claims:   run | parked | cancelled | moved | stale | gone | ir_missing, busy (the token stays where it is)
--   opened:   a function stream that was not there before
-- Journal: one entry, when anything changed: f (execution), r (retry), p (it waits) or w (others alone), each followed by d (detail) and o (output).
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
--@include lib/groups.lua
--@include lib/offers.lua
--@include lib/losses.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
limits = call.limits

local runs, order, steps, journal = {}, {}, {}, {}
local reply = { word = 'ok', finished = {}, claims = {}, tokens = {} }
local payloads = { '' }
local acknowledged, leased, released, persisted, timed = {}, {}, {}, {}, {}

local function run_of(item)
  local run = runs[item.run]
  if not run then
    run = open_run(KEYS[item.run], item.ir and KEYS[item.ir], item.id)
    run.parked_key, run.scopes_key = KEYS[item.parked], KEYS[item.scopes]
    runs[item.run] = run
    order[#order + 1] = run
  end
  return run
end

local function step_of()
  local step = new_step(call)
  steps[#steps + 1] = step
  return step
end

local function payload(value)
  if not value then return 0 end
  payloads[#payloads + 1] = value
  return #payloads - 1
end

local function acknowledge(item)
  if item.entry then acknowledged[#acknowledged + 1] = item end
end

-- after: position (from 0) of the finished item whose own output this token needs not be sent back. needs: [[node, field]].
local function hand_out(token, needs, after, after_node)
  local run, fields = token.run, {}
  local outputs, sources = {}, {}
  for index, source in ipairs(token.sources) do
    sources[index] = source[1]
    outputs[index] = source[1] == after_node and 'own' or (FIELD.output .. source[1] .. at_scope(strip_scope(token.scope, source[2])))
    if outputs[index] ~= 'own' then fields[#fields + 1] = outputs[index] end
  end
  for _, need in ipairs(needs or {}) do fields[#fields + 1] = need[2] end
  get_many(run, fields)
  local inputs, needed = {}, {}
  for index, field in ipairs(outputs) do inputs[index] = field == 'own' and -1 or payload(get(run, field)) end
  for index, need in ipairs(needs or {}) do needed[index] = { need[1], payload(get(run, need[2])) } end
  if not after and not run.input_payload then run.input_payload = payload(get(run, RUN.input)) end
  reply.tokens[#reply.tokens + 1] = {
    id = run.id, g = tonumber(run.generation), digest = run.digest, node = token.node, scope = token.scope, attempt = token.attempt,
    delivery = token.delivery, nonce = token.nonce, after = after, sources = #inputs > 0 and sources or nil,
    inputs = #inputs > 0 and inputs or nil, needs = #needed > 0 and needed or nil,
    input = after and 0 or run.input_payload, wide = token.sources.wide or nil,
    woken = token.woken and payload(token.woken) or nil, losses = token.losses,
  }
  leased[#leased + 1] = lease_of(token.run, token)
end

-- A finished execution that was applied before: its worker may not have heard of the tokens it was handed (`node`, `node@scope`, and
-- `!queue` unless it is the execution's own).
local function owed(item, run, position, rest)
  for handed in string.gmatch(rest, '[^,]+') do
    local target, scope, queue = string.match(handed, '^(%d+)@?([^!]*)!?(.*)$')
    local kind, nonce, delivery, more = parse_execution(get(run, FIELD.execution .. target .. at_scope(scope)))
    if kind == EXECUTION.active then
      local attempt, worker, sources = parse_active(more)
      if worker == call.worker and delivery == 1 and attempt == 1 then
        hand_out({ run = run, node = tonumber(target), scope = scope, attempt = 1, delivery = 1, nonce = nonce, sources = sources,
            queue = queue ~= '' and queue or item.queue },
          item.needs and item.needs[target], position - 1, item.node)
      end
    end
  end
  return 'duplicate'
end

local function journal_step(kind, record, detail, output)
  for _, part in ipairs({ kind, record, 'd', detail, 'o', output }) do journal[#journal + 1] = part end
end

local function keep_for(due, kept)
  ring_before(due, clock())
  timed[#timed + 1] = integer(due)
  timed[#timed + 1] = kept
end

-- The execution goes on later, under a new nonce: another attempt (r), or the rest of it once it was woken (p).
local function put_off(item, run, field, rest, kind, attempt, more)
  local _, _, sources = parse_active(rest)
  local step = step_of()
  local first_event = run.events + 1
  run.events = first_event
  run.changed = true
  give_back_permits(step, run, item.guarded, item.node)
  forget_losses(run, item)
  put_active(run, field, call.call, 1, attempt, '', sources)
  released[#released + 1] = lease_of(run, item)
  if item.blobs then for _, blob in ipairs(item.blobs) do persisted[#persisted + 1] = blob end end
  local woken = false
  if item.park then
    put(run, FIELD.waits .. item.node .. at_scope(item.scope), item.park)
    if item.park == PARK.child then ring() end
    if item.park == PARK.items then
      park_map(step, run, item)
    elseif item.park == PARK.signal then
      woken = await_signal(step, run, item.signal, item.node, item.scope, item.queue)
      if woken then settle_and_count(step, run, withdrawals_of_event(run, item.node, item.scope)) end
    end
  end
  if item.due and not woken then
    keep_for(item.due, kept_token({ run = run, queue = item.queue, node = item.node, scope = item.scope, attempt = attempt,
      delivery = 1, nonce = call.call }))
  end
  more.node, more.scope, more.attempt, more.delivery, more.due = item.node, item.scope, item.attempt, item.delivery, item.due
  journal_step(kind, journal_record(step, run, first_event, more), ARGV[item.detail], '')
  return 'done'
end

local function fail_unhandled(item, run)
  local scope = item.scope == '' and '' or item_scope(run, item.scope)
  if scope == '' then
    run.unhandled = run.unhandled or integer(item.node) .. at_scope(item.scope)
  elseif not get(run, SCOPE.unhandled .. '@' .. scope) then
    put(run, SCOPE.unhandled .. '@' .. scope, integer(item.node))
  end
  return scope == ''
end

-- One execution resolved without its worker, or what a step left over: the step, as the journal tells it.
local function journal_alone(step, run, first_event)
  if run.events < first_event then return end
  journal_step(EVENT.settled, journal_record(step, run, first_event, {}), '', '')
end

-- Does as much as the call may of what comes before all else; answers whether there was any.
local function settle_first(run)
  local name = first_rest(run)
  if not name then return false end
  local step, first_event = step_of(), run.events + 1
  settle_and_count(step, run, {}, name)
  journal_step(EVENT.settled, journal_record(step, run, first_event, {}), '', '')
  return true
end

local function finish(item, run, position)
  local field = FIELD.execution .. item.node .. at_scope(item.scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if nonce ~= item.nonce or delivery ~= item.delivery then return 'stale' end
  if kind == EXECUTION.completed or kind == EXECUTION.failed or kind == EXECUTION.cancelled then
    released[#released + 1] = lease_of(run, item)
    return owed(item, run, position, rest)
  end
  if kind ~= EXECUTION.active then return 'stale' end
  if first_rest(run) and not has_ir(run) then return 'ir_missing' end
  if settle_first(run) then return 'busy' end
  local outcome, stopping = item.outcome, is_stopping(run)
  if outcome == OUTCOME.cancelled and not stopping then return 'stale' end
  if not edges_of(run, ADJACENCY.out .. item.node) then return 'ir_missing' end
  if item.scope ~= '' and not is_alive(run, item.scope, item.node) then
    released[#released + 1] = lease_of(run, item)
    return 'stale'
  end
  if outcome == OUTCOME.retrying or outcome == OUTCOME.waiting then
    if stopping then outcome = OUTCOME.cancelled
    elseif outcome == OUTCOME.retrying then return put_off(item, run, field, rest, EVENT.retrying, item.attempt + 1, {})
    else return put_off(item, run, field, rest, EVENT.parked, item.attempt, { park = item.park }) end
  end

  if outcome == OUTCOME.cancelled and item.waits and wait_for_items(run, item.node, item.scope) then
    released[#released + 1] = lease_of(run, item)
    return 'done'
  end

  local step = step_of()
  step.hand, step.hand_items = item.hand and item.node, item.hand_items
  for _, target in ipairs(item.unoffered or {}) do step.unoffered[target] = true end
  if item.forgets then put(run, item.forgets, false) end
  local first_event = run.events + 1
  run.events = first_event
  count(run, is_undoing(run, item.scope, item.node) and '' or item.scope, -1)
  if item.unhandled and fail_unhandled(item, run) then step.halt = item.halt end
  forget_losses(run, item)
  put(run, field, EXECUTION.active) -- resolved below, when it is known what was handed over
  if item.keep then put(run, FIELD.output .. item.node .. at_scope(item.keep_at or item.scope), ARGV[item.output]) end
  if item.ends_item then put(run, FIELD.ended_item .. item.node .. at_scope(item.keep_at or item.scope), '1') end
  give_back_permits(step, run, item.guarded, item.node)
  local work = {}
  if item.withdraws and not stopping then work[#work + 1] = { item.node, item.scope, 1, MODE.withdrawals } end
  if item.waits then
    local map = read_map(run, item.node, item.scope)
    if map then
      if map.next > 0 then
        work[#work + 1] = { item.node, item.scope, 1, MODE.results .. integer(map.next) .. (map.failed > 0 and ITEM.failed or '') }
      end
      if not map.stopped then bodies.leave(run, item.node, item.scope, item.node) end -- it failed while items are under way
    end
    bodies.drop_map(run, item.node, item.scope)
    put(run, FIELD.waits .. item.node .. at_scope(item.scope), false)
    leave_line(run, item.node, item.scope)
  end
  if item.compensation and outcome == OUTCOME.completed then
    local last = tonumber(get(run, RUN.compensations) or '0') + 1
    put(run, RUN.compensations, integer(last))
    put(run, FIELD.compensation .. integer(last), table.concat({ item.compensation, item.scope, item.queue, item.node }, '|'))
  end
  if item.again and not stopping then
    local id = last_component(item.scope)
    if body_of(run, id).c then put(run, SCOPE.goes_round .. at_scope(item.scope), '1')
    else work[#work + 1] = { item.node, item.scope, 1, MODE.iteration } end
  elseif not stopping then -- a halted run goes no further
    work[#work + 1] = { item.node, item.scope, 1, item.arrivals }
  end
  settle_and_count(step, run, work)

  local handed = {}
  for index, token in ipairs(step.handed) do
    handed[index] = integer(token.node) .. at_scope(token.scope) .. (token.queue == item.queue and '' or '!' .. token.queue)
  end
  -- Nothing is owed for the last execution of an item that is cleared.
  if #handed > 0 or get(run, field) then
    put(run, field, table.concat({ outcome, nonce, integer(delivery), table.concat(handed, ',') }, ':'))
  end
  for _, token in ipairs(step.handed) do
    hand_out(token, item.needs and item.needs[integer(token.node)], position - 1, item.node)
  end
  released[#released + 1] = lease_of(run, item)
  if item.blob then persisted[#persisted + 1] = item.blob end
  journal_step(EVENT.finished, journal_record(step, run, first_event, { node = item.node, scope = item.scope, attempt = item.attempt,
    delivery = item.delivery, outcome = outcome, arrivals = item.again and 'again' or item.arrivals }),
    ARGV[item.detail], item.journal_output and ARGV[item.output] or '')
  return 'done'
end

local function settle_rest(item, run)
  acknowledge(item)
  if run.status ~= STATUS.running or not get(run, item.settle) then return 'stale' end
  if not has_ir(run) then return 'ir_missing' end
  local step = step_of()
  local first_event = run.events + 1
  settle_and_count(step, run, {}, item.settle)
  journal_step(EVENT.settled, journal_record(step, run, first_event, {}), '', '')
  return 'done'
end

local function claim(item, run)
  if (item.scope ~= '' or run.rests_first) and not has_ir(run) then return 'ir_missing' end
  if settle_first(run) then return 'busy' end
  acknowledge(item)
  local field = FIELD.execution .. item.node .. at_scope(item.scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if kind ~= EXECUTION.active or nonce ~= item.nonce or delivery ~= item.delivery then return 'stale' end
  local attempt, holder, sources = parse_active(rest)
  if attempt ~= item.attempt or (holder ~= '' and holder ~= call.worker) then return 'stale' end
  if not is_alive(run, item.scope, item.node) then return 'stale' end
  local losses = delivery > 1 and read_losses(run, item.node, item.scope)
  if losses and losses.lost >= SUSPECT and not item.alone then -- it lay where all read, as after a pause
    local step = step_of()
    step.queued[1] = { run = run, queue = suspects_of(item.queue), node = item.node, scope = item.scope, attempt = attempt, delivery = delivery,
      nonce = nonce }
    return 'stale'
  end
  run.changed = true
  local first_event = run.events + 1
  if is_stopping(run) then -- withdrawn instead of performed
    if item.waits and wait_for_items(run, item.node, item.scope) then return 'cancelled' end
    local step = step_of()
    withdraw(step, run, item.node, item.scope)
    settle_and_count(step, run, {})
    journal_alone(step, run, first_event)
    return 'cancelled'
  end
  if run.paused then
    put_active(run, field, nonce, delivery, attempt, ASIDE.paused, sources)
    return 'parked'
  end
  local begins = item.attempt == 1 and item.delivery == 1
  for _, guard in ipairs(begins and item.unless or {}) do
    if string.sub(get(run, guard[2]) or '', 1, 1) == EXECUTION.completed then
      local step, work = step_of(), {}
      count(run, item.scope, -1)
      pass_permits_on(step, run, item.guarded, item.node)
      skip(step, run, item.node, item.scope, 'unless', integer(guard[1]), work)
      settle_and_count(step, run, { { item.node, item.scope, 1, MODE.not_taken } })
      journal_alone(step, run, first_event)
      return 'cancelled'
    end
  end
  if item.moves_to and holder == '' then
    local answer = offers.move(call, item, encode_token({ run = run, node = item.node, scope = item.scope, attempt = attempt,
      delivery = delivery, nonce = nonce }))
    if answer == 'moved' then pass_permits_on(step_of(), run, item.guarded, item.node) end
    if answer then return answer end
  end
  local woken = item.waits and get(run, FIELD.waits .. item.node .. at_scope(item.scope))
  if holder == '' then
    if not are_free(run, item.guarded, item.node) then
      put_active(run, field, nonce, delivery, attempt, ASIDE.permits, sources)
      put_aside(run, item.guarded, kept_item(run, item))
      return 'parked'
    end
    take_permits(run, item.guarded, item.node)
  end
  put_active(run, field, nonce, delivery, attempt, call.worker, sources)
  hand_out({ run = run, node = item.node, scope = item.scope, attempt = attempt, delivery = delivery, nonce = nonce, sources = sources,
    queue = item.queue, woken = woken, losses = losses and losses.lost > 0 and losses or nil }, item.needs, nil, nil)
  if woken == PARK.time and item.withdraws then -- its time has come
    local step = step_of()
    settle_and_count(step, run, { { item.node, item.scope, 1, MODE.withdrawals } })
    journal_alone(step, run, first_event)
  end
  return 'run'
end

local function each(items, answers, act)
  for position, item in ipairs(items or {}) do
    local run = run_of(item)
    local answer
    if not run.exists or run.generation ~= integer(item.g) then
      acknowledge(item)
      answer = run.exists and 'stale' or 'gone'
    else
      answer = act(item, run, position)
    end
    answers[position] = { word = answer }
  end
end

each(call.finished, reply.finished, function(item, run, position)
  if item.settle then return settle_rest(item, run) end
  return finish(item, run, position)
end)
each(call.claims, reply.claims, claim)

if #journal > 0 then append_journal(meta, call, KEYS[2], journal) end
for _, run in ipairs(order) do write_run(run) end
for _, step in ipairs(steps) do emit_queued(step) end
offers.write(call)
for _, item in ipairs(acknowledged) do
  write('XACK', KEYS[item.stream], 'workers', item.entry)
  write('XDEL', KEYS[item.stream], item.entry)
end
write_all('ZREM', KEYS[3], released)
local scored, lease_until = {}, integer(clock() + call.lease_ms)
for _, member in ipairs(leased) do
  scored[#scored + 1] = lease_until
  scored[#scored + 1] = member
end
write_all('ZADD', KEYS[3], scored)
for _, step in ipairs(steps) do drop_timers(step, KEYS[4]) end
write_all('ZADD', KEYS[4], timed)
for _, blob in ipairs(persisted) do write('PERSIST', KEYS[blob]) end

reply.opened = offers.has_opened() or nil
for _, name in ipairs({ 'finished', 'claims', 'tokens' }) do
  if #reply[name] == 0 then reply[name] = nil end
end
return commit(reply, payloads)
