-- The server's clock in microseconds: below 2^53 for the next two centuries, so exact. A script
-- is one moment, so it asks once.
local moment
local function clock()
  if not moment then
    local time = redis.call('TIME')
    moment = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  return moment
end

local function whole(number)
  return string.format('%.0f', number)
end

-- What a script finds under our keys and did not write: somebody else's hand. Nothing is written.
local function corrupt(key, what)
  error('EOCORRUPT ' .. what .. ' under the key ' .. key)
end

-- Whether anything is reserved; asked once, because no script asks after it has reserved.
local reserved = {}
local function any_reserved(reservations)
  if reserved[reservations] == nil then
    reserved[reservations] = redis.call('EXISTS', reservations) == 1
  end
  return reserved[reservations]
end

-- Who holds one of these keys for a prepared transaction; nil if nobody but `own` does.
local function holder_of(reservations, keys, own)
  if not any_reserved(reservations) then return nil end
  for _, key in ipairs(keys) do
    local holder = redis.call('HGET', reservations, key)
    if holder and holder ~= own then return holder, key end
  end
  return nil
end
