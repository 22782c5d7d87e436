#!lua flags=allow-oom
-- Tokens whose lease ran out are handed out again, with the next delivery number. The attempt stays: losing a worker uses none up.
-- A worker that lives, but whose loop is blocked, keeps what it holds. What several were lost with goes to the suspects of its queue.
-- KEYS  1 meta · 2 journal · 3 leases · 4 workers · 5 listings · 6 last words · then runs, their parked lists, IRs, ready streams and those of suspects
-- ARGV  1 JSON {layout, epoch, timeline, call, now, queues, expired [{lease, run, ir, parked, id, g, queue, node, scope, attempt, delivery, nonce}],
--         died {worker, words}?: this worker's process ended while it held these, and nothing else}
-- reply {word: ok, reclaimed} | refused
-- Journal: l, one for each token handed out again.
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
--@include lib/workers.lua
--@include lib/losses.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local runs, order, ended, journal, reclaimed = {}, {}, {}, {}, 0
local step, now, spared = new_step(call), clock(), {}
local workers = { workers = KEYS[4], listings = KEYS[5], last_words = KEYS[6] }

local function reclaim(item, run, score)
  local field = FIELD.execution .. item.node .. at_scope(item.scope)
  local kind, nonce, delivery, rest = parse_execution(get(run, field))
  if kind ~= EXECUTION.active or nonce ~= item.nonce or delivery ~= item.delivery then return end
  local attempt, worker, sources = parse_active(rest)
  if attempt ~= item.attempt or not is_held(worker) then return end
  if not is_alive(run, item.scope, item.node) then return end -- the reader withdraws it
  local loss
  if call.died then
    if worker ~= call.died.worker then return end
    loss = { alone = true, words = call.died.words }
  else
    local alive_until = is_blocked(workers, worker, now, score)
    if alive_until then
      spared[#spared + 1] = { item.lease, alive_until }
      return
    end
    loss = loss_of(workers, worker, now, item.lease)
  end
  local losses = loss and add_loss(run, item.node, item.scope, loss) or read_losses(run, item.node, item.scope)
  put_active(run, field, nonce, delivery + 1, attempt, '', sources)
  take_back_permits(run, item.node, worker)
  run.events = run.events + 1
  run.changed = true
  reclaimed = reclaimed + 1
  step.queued[#step.queued + 1] = { run = run, queue = stream_for(losses, item.queue), node = item.node, scope = item.scope, attempt = attempt,
    delivery = delivery + 1, nonce = nonce }
  journal[#journal + 1] = EVENT.redelivered
  journal[#journal + 1] = cjson.encode({ id = run.id, g = item.g, q = run.events, node = item.node, scope = item.scope,
    attempt = attempt, delivery = delivery + 1, lost = losses.lost > 0 and losses.lost or nil,
    alone = losses.alone > 0 and losses.alone or nil, words = loss and loss.words or nil })
end

for _, item in ipairs(call.expired) do
  local score = redis.call('ZSCORE', KEYS[3], item.lease)
  if score and (call.died or tonumber(score) <= now) then
    ended[#ended + 1] = item.lease
    local run = runs[item.run]
    if not run then
      run = open_run(KEYS[item.run], KEYS[item.ir], item.id)
      run.parked_key = KEYS[item.parked]
      runs[item.run] = run
      order[#order + 1] = run
    end
    if run.exists and run.generation == integer(item.g) then reclaim(item, run, score) end
  end
end
if #journal > 0 then append_journal(meta, call, KEYS[2], journal) end
for _, run in ipairs(order) do write_run(run) end
emit_queued(step)
write_all('ZREM', KEYS[3], ended)
for _, lease in ipairs(spared) do write('ZADD', KEYS[3], integer(lease[2]), lease[1]) end
return commit({ word = 'ok', reclaimed = reclaimed })
