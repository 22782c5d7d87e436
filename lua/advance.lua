#!lua flags=allow-oom
-- The atomic step (DESIGN 2): applies finished executions, settles their arrivals, claims tokens, all in one call.
-- Runs on low memory too, as it frees more than it takes.
-- KEYS  1 meta · 2 journal · 3 leases · 4 timers · then run, parked, IR, blob and ready-stream keys at the positions that the call names
-- ARGV  1 JSON {layout, epoch, timeline, call, worker, now, lease_until, take, limit, queues {name: position}, reads {name: true},
--         settle_queue, finished [...], claims [...]}; then payloads at the positions that the call names
--   finished: {run, ir, id, g, queue, node, scope, attempt, delivery, nonce, outcome C|F|X, arrivals `=tn…` or X, unhandled, hand, needs {target: [node]},
--              detail, output, journal_output, keep, blob, parked, halt}
--          or with outcome R {…, detail, due}: this attempt failed, the next one is due at that time
--          or {run, ir, id, g, settle, stream, entry}
--   claims:   {run, id, g, queue, node, scope, attempt, delivery, nonce, stream, entry, needs [node], parked}
-- reply JSON {word: ok, finished [{word}], claims [{word}], tokens [...]} then payloads (outputs, inputs), or refused
--   finished: done | duplicate (its owed tokens come again) | stale | gone | ir_missing
--   claims:   run | parked | cancelled | stale | gone
-- Journal: one entry, when anything changed: f (execution), r (retry) or w (settled rest), each followed by d (detail) and o (output);
--   x (withdrawn before it ran).
--@include lib/fence.lua
--@include lib/run.lua
--@include lib/emit.lua
--@include lib/settle.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end

local runs, order, steps, journal = {}, {}, {}, {}
local reply = { word = 'ok', finished = {}, claims = {}, tokens = {} }
local payloads = { '' }
local acknowledged, leased, released, persisted, timed = {}, {}, {}, {}, {}

local function run_of(item)
  local run = runs[item.run]
  if not run then
    run = open_run(KEYS[item.run], item.ir and KEYS[item.ir], item.id)
    run.parked_key = KEYS[item.parked]
    runs[item.run] = run
    order[#order + 1] = run
  elseif item.ir then
    run.ir_key = KEYS[item.ir]
  end
  return run
end

local function payload(value)
  if not value then return 0 end
  payloads[#payloads + 1] = value
  return #payloads - 1
end

-- The execution that gives up its worker gives its permit to one that was put aside for want of one.
local function give_back_permit(item, run)
  if run.permits == 0 then return end
  run.holding = run.holding - 1
  for _ = 1, 100 do
    local kept = redis.call('LINDEX', run.parked_key, run.parked_taken)
    if kept then run.parked_taken = run.parked_taken + 1 else kept = table.remove(run.parked_new, 1) end
    if not kept then return end
    local queue, text, node, scope = string.match(kept, '^([^|]*)|(n|[^|]*|[^|]*|[^|]*|([^|]*)|([^|]*)|.*)$')
    local field = 'n' .. node .. at_scope(scope)
    local kind, nonce, delivery, rest = parse_execution(get(run, field))
    if kind == 'A' then
      local attempt, worker, sources = parse_active(rest)
      if worker == '%' then
        put_active(run, field, nonce, delivery, attempt, run.paused and '~' or '', sources)
        if not run.paused then
          local step = new_step(call)
          step.queued[1] = { queue = queue, text = text }
          steps[#steps + 1] = step
        end
        return
      end
    end
  end
end

local function acknowledge(item)
  if item.entry then acknowledged[#acknowledged + 1] = item end
end

-- after: position (from 0) of the finished item whose own output this token needs not be sent back.
local function hand_out(token, needs, after, after_node)
  local run, fields = token.run, {}
  local outputs = {}
  for index, source in ipairs(token.sources) do
    outputs[index] = source == after_node and 'own' or ('o' .. source .. at_scope(token.scope))
    if outputs[index] ~= 'own' then fields[#fields + 1] = outputs[index] end
  end
  for _, node in ipairs(needs or {}) do fields[#fields + 1] = 'o' .. node .. at_scope(token.scope) end
  get_many(run, fields)
  local inputs, needed = {}, {}
  for index, field in ipairs(outputs) do inputs[index] = field == 'own' and -1 or payload(get(run, field)) end
  for index, node in ipairs(needs or {}) do
    needed[index] = { node, payload(get(run, 'o' .. node .. at_scope(token.scope))) }
  end
  reply.tokens[#reply.tokens + 1] = {
    id = run.id, g = tonumber(run.generation), digest = run.digest, node = token.node, scope = token.scope, attempt = token.attempt,
    delivery = token.delivery, nonce = token.nonce, after = after, sources = #inputs > 0 and token.sources or nil,
    inputs = #inputs > 0 and inputs or nil, needs = #needed > 0 and needed or nil,
    input = after and 0 or payload(get(run, 'i')),
  }
  leased[#leased + 1] = kept_token(token)
end

local function queue_of(run, item, target)
  for _, edge in ipairs(edges_of(run, 'o' .. item.node) or {}) do
    if edge[2] == tonumber(target) then return edge[6] end
  end
end

-- A finished execution that was applied before: its worker may not have heard of the tokens it was handed.
local function owed(item, run, position, rest)
  for target in string.gmatch(rest, '%d+') do
    local kind, nonce, delivery, more = parse_execution(get(run, 'n' .. target .. at_scope(item.scope)))
    if kind == 'A' then
      local attempt, worker, sources = parse_active(more)
      if worker == call.worker and delivery == 1 and attempt == 1 then
        hand_out({ run = run, node = tonumber(target), scope = item.scope, attempt = 1, delivery = 1, nonce = nonce, sources = sources,
            queue = queue_of(run, item, target) },
          item.needs and item.needs[target], position - 1, item.node)
      end
    end
  end
  return 'duplicate'
end

local function journal_step(kind, record, detail, output)
  for _, part in ipairs({ kind, record, 'd', detail, 'o', output }) do journal[#journal + 1] = part end
end

-- The attempt failed and another is due later: the execution stays active, under a new nonce.
local function retry_later(item, run, field, rest)
  local _, _, sources = parse_active(rest)
  give_back_permit(item, run)
  run.events = run.events + 1
  run.changed = true
  put_active(run, field, call.call, 1, item.attempt + 1, '', sources)
  released[#released + 1] = kept_item(run, item)
  timed[#timed + 1] = integer(item.due)
  timed[#timed + 1] = kept_token({ run = run, queue = item.queue, node = item.node, scope = item.scope,
    attempt = item.attempt + 1, delivery = 1, nonce = call.call })
  journal_step('r', journal_record(new_step(call), run, run.events, { node = item.node, scope = item.scope, attempt = item.attempt,
    delivery = item.delivery, due = item.due }), ARGV[item.detail], '')
  return 'done'
end

local function finish(item, run, position)
  local field = 'n' .. item.node .. at_scope(item.scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if nonce ~= item.nonce or delivery ~= item.delivery then return 'stale' end
  if kind == 'C' or kind == 'F' or kind == 'X' then return owed(item, run, position, rest) end
  if kind ~= 'A' then return 'stale' end
  local outcome = item.outcome
  if outcome == 'X' and not run.halted then return 'stale' end
  if outcome == 'R' and not run.halted then return retry_later(item, run, field, rest) end
  if outcome == 'R' then outcome = 'X' end
  if not edges_of(run, 'o' .. item.node) then return 'ir_missing' end

  local step = new_step(call)
  step.hand = item.hand and item.node
  step.halt = item.halt
  steps[#steps + 1] = step
  local first_event = run.events + 1
  run.events = first_event
  run.counter = run.counter - 1
  if item.unhandled and not run.unhandled then run.unhandled = integer(item.node) end
  put(run, field, 'A') -- resolved below, when it is known what was handed over
  if item.keep then put(run, 'o' .. item.node .. at_scope(item.scope), ARGV[item.output]) end
  give_back_permit(item, run)
  if run.halted then test_zero(step, run) -- a halted run goes no further
  else settle_and_count(step, run, { { item.node, item.scope, 1, item.arrivals } }) end

  local handed = {}
  for index, token in ipairs(step.handed) do handed[index] = integer(token.node) end
  put(run, field, table.concat({ outcome, nonce, integer(delivery), table.concat(handed, ',') }, ':'))
  for _, token in ipairs(step.handed) do
    hand_out(token, item.needs and item.needs[integer(token.node)], position - 1, item.node)
  end
  released[#released + 1] = kept_item(run, item)
  if item.blob then persisted[#persisted + 1] = KEYS[item.blob] end
  journal_step('f', journal_record(step, run, first_event, { node = item.node, scope = item.scope, attempt = item.attempt,
    delivery = item.delivery, outcome = outcome, arrivals = item.arrivals }),
    ARGV[item.detail], item.journal_output and ARGV[item.output] or '')
  return 'done'
end

local function settle_rest(item, run)
  acknowledge(item)
  local packed = get(run, item.settle)
  if not packed then return 'stale' end
  if not edges_of(run, 'oroot') then return 'ir_missing' end
  local step = new_step(call)
  steps[#steps + 1] = step
  local first_event = run.events + 1
  run.counter = run.counter - 1
  put(run, item.settle, false)
  if run.halted then test_zero(step, run) else settle_and_count(step, run, cjson.decode(packed)) end
  journal_step('w', journal_record(step, run, first_event, {}), '', '')
  return 'done'
end

-- A halted run's token is withdrawn instead of performed.
local function withdraw(item, run, field)
  local step = new_step(call)
  put(run, field, table.concat({ 'X', item.nonce, integer(item.delivery), '' }, ':'))
  run.counter = run.counter - 1
  run.events = run.events + 1
  local event = run.events
  test_zero(step, run)
  journal[#journal + 1] = 'x'
  journal[#journal + 1] = journal_record(step, run, event, { node = item.node, scope = item.scope, attempt = item.attempt })
  return 'cancelled'
end

local function claim(item, run)
  acknowledge(item)
  local field = 'n' .. item.node .. at_scope(item.scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if kind ~= 'A' or nonce ~= item.nonce or delivery ~= item.delivery then return 'stale' end
  local attempt, holder, sources = parse_active(rest)
  if attempt ~= item.attempt or (holder ~= '' and holder ~= call.worker) then return 'stale' end
  run.changed = true
  if run.halted then return withdraw(item, run, field) end
  if run.paused then
    put_active(run, field, nonce, delivery, attempt, '~', sources)
    return 'parked'
  end
  if run.permits > 0 and holder == '' then
    if run.holding >= run.permits then
      put_active(run, field, nonce, delivery, attempt, '%', sources)
      run.parked_new[#run.parked_new + 1] = kept_item(run, item)
      return 'parked'
    end
    run.holding = run.holding + 1
  end
  put_active(run, field, nonce, delivery, attempt, call.worker, sources)
  hand_out({ run = run, node = item.node, scope = item.scope, attempt = attempt, delivery = delivery, nonce = nonce, sources = sources,
    queue = item.queue }, item.needs, nil, nil)
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

for _, run in ipairs(order) do write_run(run) end
for _, step in ipairs(steps) do emit_queued(step) end
for _, item in ipairs(acknowledged) do
  redis.call('XACK', KEYS[item.stream], 'workers', item.entry)
  redis.call('XDEL', KEYS[item.stream], item.entry)
end
if #released > 0 then redis.call('ZREM', KEYS[3], unpack(released)) end
if #leased > 0 then
  local scored = {}
  for _, member in ipairs(leased) do
    scored[#scored + 1] = integer(call.lease_until)
    scored[#scored + 1] = member
  end
  redis.call('ZADD', KEYS[3], unpack(scored))
end
if #timed > 0 then redis.call('ZADD', KEYS[4], unpack(timed)) end
for _, key in ipairs(persisted) do redis.call('PERSIST', key) end
if #journal > 0 then append_journal(meta, call, journal) end

for _, name in ipairs({ 'finished', 'claims', 'tokens' }) do
  if #reply[name] == 0 then reply[name] = nil end
end
payloads[1] = cjson.encode(reply)
return payloads
