-- Reads the fields of a run's state, each once: {key, cache}.

local function get(run, field)
  local value = run.cache[field]
  if value == nil then
    value = redis.call('HGET', run.key, field)
    run.cache[field] = value
  end
  return value
end

local function get_many(run, fields)
  local missing = {}
  for _, field in ipairs(fields) do
    if run.cache[field] == nil then missing[#missing + 1] = field end
  end
  for first = 1, #missing, 1000 do
    local part = {}
    for index = first, math.min(first + 999, #missing) do part[#part + 1] = missing[index] end
    local values = redis.call('HMGET', run.key, unpack(part))
    for index, field in ipairs(part) do run.cache[field] = values[index] end
  end
end
