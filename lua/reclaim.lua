#!lua flags=allow-oom
-- Tokens whose lease ran out are handed out again, with the next delivery number. The attempt stays: losing a worker uses none up.
-- KEYS  1 meta · 2 journal · 3 leases · then runs and ready streams
-- ARGV  1 JSON {layout, epoch, timeline, call, now, expired [{kept, run, stream, id, g, node, scope, attempt, delivery, nonce}]}
-- reply {word: ok, reclaimed} | refused
-- Journal: l, one for each token handed out again.
--@include lib/fence.lua
--@include lib/run.lua
--@include lib/emit.lua

local call = cjson.decode(ARGV[1])
local meta = read_meta(KEYS[1])
local word = refusal(meta, call)
if word then return refuse(word) end
local runs, order, queued, ended, journal = {}, {}, {}, {}, {}
for _, item in ipairs(call.expired) do
  local score = redis.call('ZSCORE', KEYS[3], item.kept)
  if score and tonumber(score) <= call.now then
    ended[#ended + 1] = item.kept
    local run = runs[item.run]
    if not run then
      run = open_run(KEYS[item.run], nil, item.id)
      runs[item.run] = run
      order[#order + 1] = run
    end
    local field = 'n' .. item.node .. at_scope(item.scope)
    local held = table.concat({ 'A', item.nonce, integer(item.delivery), integer(item.attempt), '' }, ':')
    local state = run.exists and run.generation == integer(item.g) and get(run, field)
    if state and string.sub(state, 1, #held) == held then
      local sources = string.match(state, '([^:]*)$')
      put(run, field, table.concat({ 'A', item.nonce, integer(item.delivery + 1), integer(item.attempt), '', sources }, ':'))
      run.events = run.events + 1
      if run.permits > 0 then run.holding = run.holding - 1 end
      run.changed = true
      queued[#queued + 1] = { stream = item.stream, token = encode_token({ run = run, node = item.node, scope = item.scope,
        attempt = item.attempt, delivery = item.delivery + 1, nonce = item.nonce }) }
      journal[#journal + 1] = 'l'
      journal[#journal + 1] = cjson.encode({ id = run.id, g = item.g, q = run.events, node = item.node, scope = item.scope,
        attempt = item.attempt, delivery = item.delivery + 1 })
    end
  end
end
for _, run in ipairs(order) do write_run(run) end
for _, token in ipairs(queued) do redis.call('XADD', KEYS[token.stream], '*', 't', token.token) end
for _, kept in ipairs(ended) do redis.call('ZREM', KEYS[3], kept) end
if #journal > 0 then append_journal(meta, call, journal) end
return { cjson.encode({ word = 'ok', reclaimed = #queued }) }
