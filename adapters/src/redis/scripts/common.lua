-- The server's clock in microseconds: below 2^53 for the next two centuries, so exact.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

-- What a script finds under our keys and did not write: somebody else's hand. Nothing is written.
local function corrupt(key, what)
  error('EOCORRUPT ' .. what .. ' under the key ' .. key)
end

-- Who holds one of these keys for a prepared transaction; nil if nobody but `own` does.
local function holder_of(reservations, keys, own)
  if redis.call('EXISTS', reservations) == 0 then return nil end
  for _, key in ipairs(keys) do
    local holder = redis.call('HGET', reservations, key)
    if holder and holder ~= own then return holder, key end
  end
  return nil
end
