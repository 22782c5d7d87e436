-- Items of a map in the small step (step.lua): one that is over, and the one that follows it.

-- Where a map's record has what is asked for here (bodies.lua).
local TOTAL, NEXT, OPEN, OVER, UNSEEN, STOPPED = 1, 2, 3, 4, 9, 10

-- The map of this field, of which items are under way; nil: it is gone, or ended early.
local function map_of(run, field)
  run.maps = run.maps or {}
  local map = run.maps[field]
  if map == nil then
    map = {}
    for value in gmatch(get(run, field) or '', '%d+') do map[#map + 1] = tonumber(value) end
    map = #map == STOPPED and map
    run.maps[field] = map
  end
  if map and map[STOPPED] == 0 then return map end
end

-- What follows from the end of an item: {ending, entry, item: the next one's, or nil}. nil: more than that, or something else.
local function after_item(run, ir, node, map, base)
  local of = ARGV[base + 13]
  local info = read_ir(ir, ADJACENCY.body .. of)
  if get(run, SCOPE.unhandled .. ARGV[base + 9]) or info.asks or #info.results ~= 1 or #info.ends > 0 or #info.loops > 0 then return nil end
  if info.results[1] .. '' ~= node then return nil end
  local after = { fields = read_ir(ir, ADJACENCY.scope_fields .. of) }
  if not after.fields or #after.fields >= part then return nil end
  if map[NEXT] >= map[TOTAL] then return map[OPEN] > 1 and after or nil end
  local entries = read_ir(ir, ADJACENCY.out .. BEGINNING.item .. of)
  local entry = #entries == 1 and entries[1]
  if not entry or (entry[7] and (entry[7] > 0 or entry[9] > 0)) or not stream[entry[6]] then return nil end
  local outer = sub(ARGV[base + 14], 2)
  after.entry, after.item = entry, (outer == '' and '' or outer .. '/') .. info.id .. ':' .. map[NEXT]
  return after
end

-- The item is over: its output is a result of the map, what else is of it goes (but what it handed over), and the next one begins.
local function end_item(run, map, after, base, scopes, kept)
  local scope_at, item = ARGV[base + 9], ARGV[base + 12]
  local field = FIELD.execution .. ARGV[base + 3] .. scope_at
  map[OVER], map[UNSEEN] = map[OVER] + 1, 1
  if after.item then map[NEXT] = map[NEXT] + 1 else map[OPEN] = map[OPEN] - 1 end
  map.changed = true
  put(run, FIELD.results .. ARGV[base + 13] .. ARGV[base + 14] .. '#' .. match(item, '%d+$') .. '.' .. ARGV[base + 3], ARGV[base + 8])
  for _, name in ipairs(after.fields) do
    name = name .. scope_at
    -- The output of an only node was never written.
    if name == field and not kept or name ~= field and #after.fields > 2 then put(run, name, false) end
  end
  put(run, SCOPE.counter .. scope_at, false)
  run.closed = run.closed or { 'SREM', scopes }
  run.closed[#run.closed + 1] = item
  if not after.item then return end
  put(run, SCOPE.counter .. '@' .. after.item, '1')
  run.opened = run.opened or { 'SADD', scopes }
  run.opened[#run.opened + 1] = after.item
end
