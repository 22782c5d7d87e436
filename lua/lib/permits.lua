-- Permits: of the run (max_parallel_nodes) and of its semaphores. An execution that finds them taken is put aside in a list of the run;
-- whoever gives some up hands the first ones back to their streams that could run now. Those take their permits when they are claimed.

local function holds_of(run, node) return (edges_of(run, ADJACENCY.guards .. node) or {}).holds or {} end

local function are_free(run, guarded, node)
  if run.permits > 0 and run.holding >= run.permits then return false end
  if guarded then
    for _, semaphore in ipairs(holds_of(run, node)) do
      if tonumber(get(run, FIELD.semaphore .. semaphore[1]) or '0') >= semaphore[2] then return false end
    end
  end
  return true
end

local function move_permits(run, guarded, node, by)
  if run.permits > 0 then run.holding = run.holding + by end
  if not guarded then return end
  for _, semaphore in ipairs(holds_of(run, node)) do
    local field = FIELD.semaphore .. semaphore[1]
    put(run, field, integer(tonumber(get(run, field) or '0') + by))
  end
end

local function take_permits(run, guarded, node) move_permits(run, guarded, node, 1) end

-- Of an execution that is handed out anew, whose worker's answer is stale: whoever claims it takes them again.
local function take_back_permits(run, node, worker)
  if is_held(worker) then move_permits(run, edges_of(run, ADJACENCY.guards .. node), node, -1) end
end

local function aside(run)
  if not run.aside then
    run.aside = {}
    for index, text in ipairs(redis.call('LRANGE', run.parked_key, 0, limits.aside - 1)) do run.aside[index] = { text = text } end
  end
  return run.aside
end

local function put_aside(run, guarded, kept)
  local list = aside(run)
  list[#list + 1] = { text = (guarded and 'g' or '-') .. kept, new = true }
end

-- Answers the kept token of the first one that may go on, whether its node is guarded, and the node.
local function next_aside(run)
  local list, index = aside(run), 1
  while index <= #list do
    local parked = list[index]
    local guarded, kept = string.sub(parked.text, 1, 1) == 'g', string.sub(parked.text, 2)
    local node, scope, its_nonce = string.match(kept, '^[^|]*|' .. TOKEN.execution .. '|[^|]*|[^|]*|[^|]*|([^|]*)|([^|]*)|.*|([^|]*)$')
    local field = FIELD.execution .. node .. at_scope(scope)
    local kind, nonce, delivery, rest = parse_execution(get(run, field))
    local attempt, worker, sources
    if kind == EXECUTION.active then attempt, worker, sources = parse_active(rest) end
    -- Another nonce: it was woken meanwhile, and put aside again.
    local waits = worker == ASIDE.permits and nonce == its_nonce and bodies.are_alive(run, scope, node)
    if waits and not are_free(run, guarded, node) then
      index = index + 1
    else
      table.remove(list, index)
      if not parked.new then run.aside_removed[#run.aside_removed + 1] = parked.text end
      if waits then
        put_active(run, field, nonce, delivery, attempt, run.paused and ASIDE.paused or '', sources)
        return kept, guarded, node
      end
    end
  end
end

-- Hands back as many as the permits of this node can make run.
local function hand_back(step, run, node)
  local most, promised = run.permits > 0 and 1 or #holds_of(run, node), {}
  for _ = 1, most do
    local kept, its_guarded, its_node = next_aside(run)
    if not kept then break end
    move_permits(run, its_guarded, its_node, 1)
    promised[#promised + 1] = { its_guarded, its_node }
    if not run.paused then
      local queue, text = string.match(kept, '^([^|]*)|(.*)$')
      step.queued[#step.queued + 1] = { queue = queue, text = text }
    end
  end
  for _, one in ipairs(promised) do move_permits(run, one[1], one[2], -1) end
end

local function give_back_permits(step, run, guarded, node)
  if run.permits == 0 and not guarded then return end
  move_permits(run, guarded, node, -1)
  hand_back(step, run, node)
end

-- For an execution that was handed back, perhaps, and will never take its permits: others may have them.
local function pass_permits_on(step, run, guarded, node)
  if run.permits == 0 and not guarded then return end
  hand_back(step, run, node)
end
