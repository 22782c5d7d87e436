-- The group that reads ready streams.

local function has_group(stream) return not redis.pcall('XPENDING', stream, 'workers').err end
