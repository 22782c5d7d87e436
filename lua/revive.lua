#!lua flags=allow-oom
-- For a run that has shown no activity for long: executions that lie nowhere (no token in a stream, no lease, no timer) are handed out
-- again. Called for all nodes in turn, a bounded number at a time.
-- KEYS  1 meta · 2 journal · 3 leases · 4 timers · 5 run · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, id, queues, nodes [{node, queue}]}
-- reply {word: ok, revived, alive} | refused
-- Journal: l, one for each execution handed out again.
--@include lib/fence.lua
--@include lib/run.lua
--@include lib/emit.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local run = open_run(KEYS[5], nil, call.id)
local step, journal, revived, alive = new_step(call), {}, 0, 0
local function in_reach(node, state)
  if state.worker == '~' or state.worker == '%' then return true end
  local kept = kept_token({ run = run, queue = node.queue, node = node.node, scope = '', attempt = state.attempt,
    delivery = state.delivery, nonce = state.nonce })
  if state.worker ~= '' then return redis.call('ZSCORE', KEYS[3], kept) end
  return redis.call('ZSCORE', KEYS[4], kept) or redis.call('XLEN', KEYS[call.queues[node.queue]]) > 0
end

if run.exists and run.status == 'R' then
  for _, node in ipairs(call.nodes) do
    local field = 'n' .. node.node
    local kind, nonce, delivery, rest = parse_execution(get(run, field))
    if kind == 'A' then
      local attempt, worker, sources = parse_active(rest)
      if in_reach(node, { worker = worker, attempt = attempt, delivery = delivery, nonce = nonce }) then
        alive = alive + 1
      else
        revived = revived + 1
        run.events = run.events + 1
        run.changed = true
        if worker ~= '' and run.permits > 0 then run.holding = run.holding - 1 end
        put_active(run, field, nonce, delivery + 1, attempt, '', sources)
        step.queued[#step.queued + 1] = { run = run, queue = node.queue, node = node.node, scope = '', attempt = attempt,
          delivery = delivery + 1, nonce = nonce }
        journal[#journal + 1] = 'l'
        journal[#journal + 1] = cjson.encode({ id = run.id, g = tonumber(run.generation), q = run.events, node = node.node, scope = '',
          attempt = attempt, delivery = delivery + 1 })
      end
    end
  end
  write_run(run)
  emit_queued(step)
  if #journal > 0 then append_journal(meta, call, journal) end
end
return { cjson.encode({ word = 'ok', revived = revived, alive = alive }) }
