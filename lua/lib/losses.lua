-- Workers whose processes died while they performed an execution (FIELD.losses): lost,alone,unexplained,words. lost: how
-- many; alone: how many of them performed nothing else; unexplained: of these, how many ended nobody knows how; words: what is known of the last. The field is gone once the execution was answered for.

-- What so many workers were lost with is suspect: it is performed with nothing else in its process.
local SUSPECT = 2

local function read_losses(run, node, scope)
  local lost, alone, unexplained, words = string.match(get(run, FIELD.losses .. node .. at_scope(scope)) or '', '^(%d+),(%d+),(%d+),(.*)$')
  return { lost = tonumber(lost or '0'), alone = tonumber(alone or '0'), unexplained = tonumber(unexplained or '0'), words = words or '' }
end

-- loss: {alone, words}
local function add_loss(run, node, scope, loss)
  local losses = read_losses(run, node, scope)
  losses.lost = losses.lost + 1
  if loss.alone then
    losses.alone = losses.alone + 1
    if loss.words then losses.words = loss.words else losses.unexplained = losses.unexplained + 1 end
  end
  put(run, FIELD.losses .. node .. at_scope(scope), table.concat({ integer(losses.lost), integer(losses.alone), integer(losses.unexplained), losses.words }, ','))
  return losses
end

local function forget_losses(run, item)
  if integer(item.delivery) ~= '1' then put(run, FIELD.losses .. item.node .. at_scope(item.scope), false) end
end

-- The name, among a call's streams, of that for a queue's suspects.
local function suspects_of(queue) return '!' .. queue end

-- Where an execution's next token goes.
local function stream_for(losses, queue)
  return losses.lost >= SUSPECT and suspects_of(queue) or queue
end
