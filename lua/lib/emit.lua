-- Tokens and journal entries: what a step leaves for others.

local function new_step(call)
  return { call = call, queued = {}, handed = {}, activated = {}, skipped = {}, cancelled = {}, untimed = {}, hand = false, unoffered = {} }
end

local function encode_token(token)
  local run = token.run
  if token.settle then
    return table.concat({ TOKEN.settle, run.id, run.generation, run.digest, token.settle }, '|')
  end
  return table.concat({ TOKEN.execution, run.id, run.generation, run.digest, integer(token.node), token.scope,
    integer(token.attempt), integer(token.delivery), token.nonce }, '|')
end

-- A token that lies in no stream, but waits (for its time, or for permits), is kept with its queue before it.
local function kept_token(token) return token.queue .. '|' .. encode_token(token) end

-- What the lease of an execution is named by.
local function lease_of(run, of)
  return table.concat({ of.queue, run.id, run.generation, integer(of.node), of.scope, integer(of.attempt), integer(of.delivery), of.nonce }, '|')
end

-- The kept token of an item that a worker sent.
local function kept_item(run, item)
  return kept_token({ run = run, queue = item.queue, node = item.node, scope = item.scope, attempt = item.attempt,
    delivery = item.delivery, nonce = item.nonce })
end

local function emit_queued(step)
  for _, token in ipairs(step.queued) do
    write('XADD', stream_of(step.call, token.queue), '*', 't', token.text or encode_token(token))
  end
end

-- What the journal says of one step of one run. Empty lists are left out.
local function journal_record(step, run, first_event, more)
  local record = more
  record.id, record.g, record.q = run.id, tonumber(run.generation), first_event
  record.skipped = #step.skipped > 0 and step.skipped or nil
  record.activated = #step.activated > 0 and step.activated or nil
  record.cancelled = #step.cancelled > 0 and step.cancelled or nil
  record.compensating = step.compensating
  record.zero, record.halted = step.zero, step.halted or (step.zero and run.halted) or nil
  if record.zero or record.halted or record.compensating then ring() end
  if step.zero == STATUS.failed and run.unhandled then
    local node, scope = string.match(run.unhandled, '^(%d+)@?(.*)$')
    record.unhandled, record.unhandled_at = tonumber(node), scope
  end
  return cjson.encode(record)
end
