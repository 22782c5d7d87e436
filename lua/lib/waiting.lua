-- Executions that wait without holding a worker. They stay active; field p says for what, and once they were woken, by what. Waking gives
-- them a new nonce, so that a timer or a second event that comes too late finds nothing.
--
-- s<name> (JSON): {w [[node, scope, queue]] waiters, oldest first; e [[payload, scope that it is for or false]] signals that came early}

local EARLY_SIGNALS = 1000

-- The timer of an execution that does not wait for it any more is dropped with the step.
local function forget_timer(step, run, node, scope, queue)
  local kind, nonce, delivery, rest = parse_execution(get(run, 'n' .. node .. at_scope(scope)))
  if kind ~= 'A' then return end
  step.untimed[#step.untimed + 1] = kept_token({ run = run, queue = queue, node = node, scope = scope, attempt = parse_active(rest),
    delivery = delivery, nonce = nonce })
end

local function drop_timers(step, key)
  for _, kept in ipairs(step.untimed) do redis.call('ZREM', key, kept) end
end

local function wake(step, run, node, scope, queue, what)
  local field = 'n' .. node .. at_scope(scope)
  local kind, _, _, rest = parse_execution(get(run, field))
  if kind ~= 'A' or #(get(run, 'p' .. node .. at_scope(scope)) or '') ~= 1 then return false end
  local attempt, worker, sources = parse_active(rest)
  -- A worker is about to record that the time to wait is over: what it has is stale.
  if is_held(worker) then move_permits(run, edges_of(run, 'g' .. node), node, -1) end
  forget_timer(step, run, node, scope, queue)
  put(run, 'p' .. node .. at_scope(scope), what)
  put_active(run, field, step.call.call, 1, attempt, run.paused and '~' or '', sources)
  run.changed = true
  if not run.paused then
    step.queued[#step.queued + 1] = { run = run, node = node, scope = scope, attempt = attempt, delivery = 1,
      nonce = step.call.call, queue = queue }
  end
  return true
end

local function signals_of(run, name)
  local packed = get(run, 's' .. name)
  local known = packed and cjson.decode(packed) or {}
  return { w = known.w or {}, e = known.e or {} }
end

local function put_signals(run, name, signals)
  if #signals.w + #signals.e == 0 then return put(run, 's' .. name, false) end
  put(run, 's' .. name, cjson.encode({ w = #signals.w > 0 and signals.w or nil, e = #signals.e > 0 and signals.e or nil }))
end

-- Takes an early signal, answering true, or stands in line.
local function await_signal(step, run, name, node, scope, queue)
  local signals, early = signals_of(run, name), nil
  for index, kept in ipairs(signals.e) do
    if not kept[2] or kept[2] == scope then
      early = table.remove(signals.e, index)
      break
    end
  end
  if early then wake(step, run, node, scope, queue, 'S' .. early[1])
  else
    for index, waiter in ipairs(signals.w) do -- a map that stood in line before
      if waiter[1] == node and waiter[2] == scope then
        table.remove(signals.w, index)
        break
      end
    end
    signals.w[#signals.w + 1] = { node, scope, queue }
  end
  put_signals(run, name, signals)
  return early
end

-- Gives a signal to the oldest waiter (at the scope, if one is named) or keeps it. Answers taken (with the waiter), kept, dropped or full.
local function give_signal(step, run, name, payload, at, transient)
  local signals = signals_of(run, name)
  for index = #signals.w, 1, -1 do
    if not bodies.are_alive(run, signals.w[index][2], signals.w[index][1]) then table.remove(signals.w, index) end
  end
  for index, waiter in ipairs(signals.w) do
    if (not at or at == waiter[2]) and wake(step, run, waiter[1], waiter[2], waiter[3], 'S' .. payload) then
      table.remove(signals.w, index)
      put_signals(run, name, signals)
      return 'taken', waiter
    end
  end
  if transient then return 'dropped' end
  if #signals.e >= EARLY_SIGNALS then return 'full' end
  signals.e[#signals.e + 1] = { payload, at or false }
  put_signals(run, name, signals)
  return 'kept'
end
