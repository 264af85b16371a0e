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

-- A whole number as Redis would print it. By halves where both are exact: `%.0f` takes three times
-- as long, and `%d` has 32 bits on some machines.
local function whole(number)
  local size = math.abs(number)
  if size < 1000000000 then return string.format('%d', number) end
  if size >= 9007199254740992 then return string.format('%.0f', number) end
  local high = math.floor(size / 1000000000)
  local sign = number < 0 and '-' or ''
  return string.format('%s%d%09d', sign, high, size - high * 1000000000)
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

-- A write that changes nothing: no hash of ours has a field without a name. A replica refuses it, so
-- what a script reads beside it is never stale. And it counts as a first write, the only one that a
-- full server refuses: a script that keeps a promise or frees memory begins with it.
local function on_master(hash) call('HDEL', hash, '') end
