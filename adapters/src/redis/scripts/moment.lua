-- What every path of a script needs. It comes first and is little: the functions of a script are
-- made anew each time it runs.
local call = redis.call

-- The server's clock in microseconds: below 2^53 for the next two centuries, so exact. A script
-- is one moment, so it asks once.
local moment
local function clock()
  if not moment then
    local time = call('TIME')
    moment = time[1] * 1000000 + time[2]
  end
  return moment
end

-- A whole number below 10^18 as Redis would print it. By halves: `%.0f` takes three times as long,
-- and `%d` has 32 bits on some machines.
local function whole(number)
  if number < 1000000000 and number > -1000000000 then return string.format('%d', number) end
  local sign = ''
  if number < 0 then sign, number = '-', -number end
  local high = math.floor(number / 1000000000)
  return string.format('%s%d%09d', sign, high, number - high * 1000000000)
end

-- What a script finds under our keys and did not write: somebody else's hand. Nothing is written.
local function corrupt(key, what)
  error('EOCORRUPT ' .. what .. ' under the key ' .. key)
end

-- Whether anything is reserved; asked once, because no script asks after it has reserved.
local reserved = {}
local function any_reserved(reservations)
  if reserved[reservations] == nil then
    reserved[reservations] = call('EXISTS', reservations) == 1
  end
  return reserved[reservations]
end
