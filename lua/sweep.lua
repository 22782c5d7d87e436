#!lua flags=allow-oom
-- Brings waiting executions of some nodes in line with their run: a halted run's are cancelled, a resumed run's get their tokens back.
-- Called for all nodes in turn, a bounded number at a time; repeating it changes nothing.
-- KEYS  1 meta · 2 journal · 3 timers · 4 run · then ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, id, queues, nodes [{node, queue}]}
-- reply {word: ok, changed} | refused
-- Journal: x, one for each execution withdrawn.
--@include lib/fence.lua
--@include lib/run.lua
--@include lib/emit.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local run = open_run(KEYS[4], nil, call.id)
local step, journal, timed, changed = new_step(call), {}, {}, 0
local function withdraw(node, field, attempt, delivery, nonce)
  local own = new_step(call)
  put(run, field, table.concat({ 'X', nonce, integer(delivery), '' }, ':'))
  timed[#timed + 1] = kept_token({ run = run, queue = node.queue, node = node.node, scope = '', attempt = attempt, delivery = delivery, nonce = nonce })
  run.counter = run.counter - 1
  run.events = run.events + 1
  local event = run.events
  test_zero(own, run)
  journal[#journal + 1] = 'x'
  journal[#journal + 1] = journal_record(own, run, event, { node = node.node, scope = '', attempt = attempt })
end

if run.exists and run.status == 'R' then
  local fields = {}
  for index, node in ipairs(call.nodes) do fields[index] = 'n' .. node.node end
  get_many(run, fields)
  for index, node in ipairs(call.nodes) do
    local kind, nonce, delivery, rest = parse_execution(get(run, fields[index]))
    if kind == 'A' then
      local attempt, worker, sources = parse_active(rest)
      if run.halted and (worker == '' or worker == '~' or worker == '%') then
        withdraw(node, fields[index], attempt, delivery, nonce)
        changed = changed + 1
      elseif not run.halted and not run.paused and worker == '~' then
        put_active(run, fields[index], nonce, delivery, attempt, '', sources)
        step.queued[#step.queued + 1] = { run = run, queue = node.queue, node = node.node, scope = '', attempt = attempt,
          delivery = delivery, nonce = nonce }
        run.changed = true
        changed = changed + 1
      end
    end
  end
  write_run(run)
  emit_queued(step)
  for _, kept in ipairs(timed) do redis.call('ZREM', KEYS[3], kept) end
  if #journal > 0 then append_journal(meta, call, journal) end
end
return { cjson.encode({ word = 'ok', changed = changed }) }
