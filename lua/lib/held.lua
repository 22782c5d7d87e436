-- Is an execution still as it was when its worker was given it? For scripts that change no run.

-- item: {g, node, scope}; beginning: of its state, as run.lua describes it. The run is to be of the item's generation.
local function is_as_given(key, item, beginning)
  local scope = item.scope == '' and '' or '@' .. item.scope
  local counts, state = unpack(redis.call('HMGET', key, RUN.counts, FIELD.execution .. string.format('%.0f', item.node) .. scope))
  local generation = string.format('%.0f,', item.g)
  return counts and string.sub(counts, 1, #generation) == generation and state and string.sub(state, 1, #beginning) == beginning
end
