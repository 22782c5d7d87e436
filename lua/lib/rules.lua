-- Trigger rules (DESIGN 2.3): 'fire', 'failed' or 'not_taken' (skip, with that reason), or nil (wait). Firing may be early, skipping never is.
local function decide(rule, fan_in, taken, not_taken, failed)
  local all_in = taken + not_taken + failed >= fan_in
  if rule == 'one_success' and taken > 0 then return 'fire' end
  if rule == 'one_failed' and failed > 0 then return 'fire' end
  local quorum = string.byte(rule) == 113 and tonumber(string.sub(rule, 2)) -- q and a number
  if quorum and taken >= quorum then return 'fire' end
  if not all_in then return nil end
  if rule == 'all_done' then return 'fire' end
  if rule == 'all_failed' and failed >= fan_in then return 'fire' end
  if rule == 'all_failed' or rule == 'one_failed' then return 'not_taken' end
  if failed > 0 then return 'failed' end
  if rule == 'none_failed' then return 'fire' end
  if rule == 'all_success' and taken < fan_in then return 'not_taken' end
  if quorum or taken == 0 then return 'not_taken' end
  return 'fire'
end
