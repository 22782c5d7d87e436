-- Executions that wait without holding a worker. They stay active; FIELD.waits says for what, and once they were woken, by what. Waking gives
-- them a new nonce, so that a timer or a second event that comes too late finds nothing.
--
-- Those that wait for a signal of this name stand in line, and signals that nobody waited for lie in lines: one for those that are for anybody,
-- one for each scope that some are for. Whatever lies in a line has a number of the name; smaller ones came earlier (fields.lua, SIGNAL).

-- The timer of an execution that does not wait for it any more is dropped with the step.
local function forget_timer(step, run, node, scope, queue)
  local kind, nonce, delivery, rest = parse_execution(get(run, FIELD.execution .. node .. at_scope(scope)))
  if kind ~= EXECUTION.active then return end
  step.untimed[#step.untimed + 1] = kept_token({ run = run, queue = queue, node = node, scope = scope, attempt = parse_active(rest),
    delivery = delivery, nonce = nonce })
end

local function drop_timers(step, key)
  for _, kept in ipairs(step.untimed) do write('ZREM', key, kept) end
end

local function wake(step, run, node, scope, queue, what)
  local field = FIELD.execution .. node .. at_scope(scope)
  local kind, _, _, rest = parse_execution(get(run, field))
  if kind ~= EXECUTION.active or #(get(run, FIELD.waits .. node .. at_scope(scope)) or '') ~= 1 then return false end
  local attempt, worker, sources = parse_active(rest)
  -- A worker is about to record that the time to wait is over: what it has is stale.
  take_back_permits(run, node, worker)
  forget_timer(step, run, node, scope, queue)
  put(run, FIELD.waits .. node .. at_scope(scope), what)
  put_active(run, field, step.call.call, 1, attempt, run.paused and ASIDE.paused or '', sources)
  run.changed = true
  if not run.paused then
    step.queued[#step.queued + 1] = { run = run, node = node, scope = scope, attempt = attempt, delivery = 1,
      nonce = step.call.call, queue = queue }
  end
  return true
end

local function signal_of(run, name)
  local first, last, number, kept = string.match(get(run, SIGNAL.line .. name) or ',,0,0', '^(%d*),(%d*),(%d+),(%d+)$')
  return { first = first, last = last, number = tonumber(number), kept = tonumber(kept) }
end

local function put_signal(run, name, signal)
  local is_empty = signal.first == '' and signal.kept == 0
  put(run, SIGNAL.line .. name, not is_empty and table.concat({ signal.first, signal.last, integer(signal.number), integer(signal.kept) }, ','))
end

local function waiter_of(run, name, number)
  local before, after, node, queue, scope = string.match(get(run, SIGNAL.waiter .. number .. ':' .. name), '^(%d*),(%d*),(%d+),([^,]*),(.*)$')
  return { before = before, after = after, node = tonumber(node), queue = queue, scope = scope }
end

local function put_waiter(run, name, number, one)
  put(run, SIGNAL.waiter .. number .. ':' .. name, table.concat({ one.before, one.after, integer(one.node), one.queue, one.scope }, ','))
end

local function leave_line(run, node, scope)
  local field = FIELD.place .. node .. at_scope(scope)
  local number, name = string.match(get(run, field) or '', '^(%d+):(.*)$')
  if not number then return end
  local signal, one = signal_of(run, name), waiter_of(run, name, number)
  if one.before == '' then signal.first = one.after
  else
    local before = waiter_of(run, name, one.before)
    before.after = one.after
    put_waiter(run, name, one.before, before)
  end
  if one.after == '' then signal.last = one.before
  else
    local after = waiter_of(run, name, one.after)
    after.before = one.before
    put_waiter(run, name, one.after, after)
  end
  put(run, SIGNAL.waiter .. number .. ':' .. name, false)
  put(run, field, false)
  put_signal(run, name, signal)
end

local function stand_in_line(run, name, node, scope, queue)
  local signal = signal_of(run, name)
  signal.number = signal.number + 1
  local number = integer(signal.number)
  if signal.last == '' then signal.first = number
  else
    local last = waiter_of(run, name, signal.last)
    last.after = number
    put_waiter(run, name, signal.last, last)
  end
  put_waiter(run, name, number, { before = signal.last, after = '', node = node, queue = queue, scope = scope })
  put(run, FIELD.place .. node .. at_scope(scope), number .. ':' .. name)
  signal.last = number
  put_signal(run, name, signal)
end

-- at: the scope that signals are for; false: for anybody.
local function early_line(name, at) return SIGNAL.early_line .. (at and '@' .. at or '') .. ':' .. name end

local function ends_of(run, line)
  return string.match(get(run, line) or '', '^(%d+),(%d+)$')
end

local function keep_early(run, name, at, payload)
  local signal, line = signal_of(run, name), early_line(name, at)
  signal.number, signal.kept = signal.number + 1, signal.kept + 1
  local number, first, last = integer(signal.number), ends_of(run, line)
  if last then
    local field = SIGNAL.early .. last .. ':' .. name
    put(run, field, number .. get(run, field))
  end
  put(run, SIGNAL.early .. number .. ':' .. name, ':' .. payload)
  put(run, line, (first or number) .. ',' .. number)
  put_signal(run, name, signal)
end

-- Takes the payload of the oldest early signal that an execution of this scope may have, if there is one.
local function take_early(run, name, scope)
  local signal = signal_of(run, name)
  if signal.kept == 0 then return nil end
  local line, at = early_line(name, false), early_line(name, scope)
  local first, its_first = ends_of(run, line), ends_of(run, at)
  if not first or (its_first and tonumber(its_first) < tonumber(first)) then line, first = at, its_first end
  if not first then return nil end
  local _, last = ends_of(run, line)
  local field = SIGNAL.early .. first .. ':' .. name
  local after, payload = string.match(get(run, field), '^(%d*):(.*)$')
  put(run, field, false)
  put(run, line, after ~= '' and after .. ',' .. last)
  signal.kept = signal.kept - 1
  put_signal(run, name, signal)
  return payload
end

-- Takes an early signal, answering true, or stands in line, at its end.
local function await_signal(step, run, name, node, scope, queue)
  leave_line(run, node, scope)
  local early = take_early(run, name, scope)
  if early then wake(step, run, node, scope, queue, WOKEN.signal .. early)
  else stand_in_line(run, name, node, scope, queue) end
  return early ~= nil
end

-- Answers whether it took the signal.
local function takes(step, run, one, payload)
  if not wake(step, run, one.node, one.scope, one.queue, WOKEN.signal .. payload) then return false end -- a map that is asked complete_when
  leave_line(run, one.node, one.scope)
  return true
end

-- The oldest that waits at this scope and takes the signal. nodes: all that may wait for it.
local function give_at(step, run, name, payload, at, nodes)
  local numbers = {}
  for _, node in ipairs(nodes) do
    local number, its_name = string.match(get(run, FIELD.place .. node .. at_scope(at)) or '', '^(%d+):(.*)$')
    if its_name == name then numbers[#numbers + 1] = tonumber(number) end
  end
  table.sort(numbers)
  for _, number in ipairs(numbers) do
    local one = waiter_of(run, name, integer(number))
    if bodies.are_alive(run, at, one.node) and takes(step, run, one, payload) then return one end
  end
end

-- The oldest that takes the signal; false: too many that are dead stood before it, and are gone now.
local function give_oldest(step, run, name, payload)
  local number, dead = signal_of(run, name).first, 0
  while number ~= '' do
    local one = waiter_of(run, name, number)
    if not bodies.are_alive(run, one.scope, one.node) then
      leave_line(run, one.node, one.scope)
      dead = dead + 1
      if dead == limits.dead_waiters then return false end
    elseif takes(step, run, one, payload) then return one end
    number = one.after
  end
end

-- Gives a signal to the oldest waiter (at the scope, if one is named) or keeps it. Answers taken (with the waiter), kept, dropped, full, or
-- busy: to be called again.
local function give_signal(step, run, name, payload, at, transient, nodes)
  local one
  if at then one = give_at(step, run, name, payload, at, nodes)
  else one = give_oldest(step, run, name, payload) end
  if one then return 'taken', one end
  if one == false then return 'busy' end
  if transient then return 'dropped' end
  if signal_of(run, name).kept >= limits.early_signals then return 'full' end
  keep_early(run, name, at or false, payload)
  return 'kept'
end
