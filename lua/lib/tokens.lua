-- Tokens that lie in no stream, as `emit.lua` keeps them: queue before token.

local function integer(number) return string.format('%.0f', number) end

-- queue, token
local function split_kept(kept) return string.match(kept, '^([^|]*)|(.*)$') end
