-- The usual cases of `complete.lua`, without what the others need; nil for the others.
-- Replays, and one write for a key of which nothing is known, where nothing is reserved.
-- The call's keys and arguments stand in the lists after the places `k` and `a`.
local function quick(keys, k, _, arguments, a)
  if arguments[a + 6] ~= '' or arguments[a + 8] ~= '0' then return nil end
  local key, fingerprint = keys[k + 1], arguments[a + 1]
  local found = call('HMGET', key, 'f', 's', 'o', 'e', 'c')
  local state, ends = found[2], found[4]
  if state == 'A' or state == 'J' then
    local kept = not ends or ends == '' or clock() < tonumber(ends)
    if found[1] ~= fingerprint or not kept then return nil end
    on_master(key)
    return { 'known', fingerprint, state, found[3] or '', '', '', found[5] or '', ends or '', whole(clock()) }
  end
  if state or found[1] or arguments[a + 9] ~= '1' or any_reserved(keys[k + 3]) then return nil end
  local outcome, returned = arguments[a + 3], arguments[a + 7]
  -- Whatever is returned fits; otherwise it is looked at before anything is written.
  if returned ~= '' then
    local most, bytes = string.match(returned, '^(%d+)<%d+=(%d+)$')
    if not most or tonumber(most) < #outcome + 40 or tonumber(bytes) < 40 then return nil end
  end

  local retention = arguments[a + 4]
  if retention ~= '' then check_index(keys[k + 2]) end
  -- The server checks a single write itself, and refuses it when its memory is full: it goes first,
  -- and where it fails nothing was written.
  local operation, wrote = arguments[a + 10], nil
  local place, one, two = keys[k + 3 + arguments[a + 11]], arguments[a + 12], arguments[a + 13]
  if operation == 'SET' and two == '' then
    wrote = redis.pcall('SET', place, one)
  elseif operation == 'INCR' then
    wrote = redis.pcall('INCRBY', place, one)
  elseif operation == 'HSET' then
    wrote = redis.pcall('HSET', place, one, two)
  elseif operation == 'HINCR' then
    wrote = redis.pcall('HINCRBY', place, one, two)
  elseif operation == 'RPUSH' then
    wrote = redis.pcall('RPUSH', place, one)
  end
  if not wrote or type(wrote) == 'table' and wrote.err then return nil end

  if returned ~= '' then
    -- A number of Lua has fewer digits.
    local value = '1'
    if operation == 'INCR' then
      value = call('GET', place)
    elseif operation == 'HINCR' then
      value = call('HGET', place, one)
    end
    outcome = outcome .. '[{"value":' .. value .. '}]]}'
  end
  local now, state = clock(), arguments[a + 2]
  if retention == '' then
    call('HSET', key, 'f', fingerprint, 's', state, 'o', outcome, 'c', whole(now))
  else
    local ends = whole(now + retention)
    call('HSET', key, 'f', fingerprint, 's', state, 'o', outcome, 'c', whole(now), 'e', ends)
    call('ZADD', keys[k + 2], ends, arguments[a + 5])
  end
  return { 'recorded', returned ~= '' and outcome or '' }
end
