-- This server's clock, milliseconds since 1970: leases and due times are judged by it, whatever the clocks of processes say.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
