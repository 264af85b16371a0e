-- The usual cases of `change.lua`, without what the others need; nil for the others.
-- Replays, and an accepted change of one account by numbers of at most 15 digits, which a double
-- holds exactly, sums included; where nothing is reserved.

-- The number, if it is that small and written as Redis would print it.
local function small(text)
  if not text or #text > 16 then return nil end
  local number = tonumber(text)
  if number and number > -1e15 and number < 1e15 and whole(number) == text then return number end
  return nil
end

-- The call's keys and arguments stand in the lists after the places `k` and `a`.
local function quick(keys, k, count, arguments, a)
  local kind, fingerprint, given = arguments[a + 1], arguments[a + 2], arguments[a + 4]
  local before = known(keys[k + 1], fingerprint)
  if before then return before end
  local sets = kind == 'compare_and_set'
  if not (sets or kind == 'adjust') or count ~= 4 or any_reserved(keys[k + 2]) then return nil end

  local account, history = keys[k + 3], keys[k + 4]
  local found = call('HMGET', account, 'a', 'v', 'f', 'o')
  local amount, version, floor = found[1], found[2], found[3]
  local expected, least = arguments[a + 5], arguments[a + 6]
  if found[4] ~= '1' or (expected ~= '' and expected ~= version) then return nil end
  local was, last, given = small(amount), small(version), small(given)
  if not (was and last and last > 0 and given) then return nil end
  -- Its own floor must be sound, whether it is what counts or not.
  if floor ~= 'none' and not small(floor) then return nil end
  if least == '' then least = floor end
  local is = sets and given or was + given
  -- A credit is never refused for the floor: it brings the account nearer to it.
  if least ~= 'none' and (sets or given < 0) then
    local least = small(least)
    if not least or is < least then return nil end
  end

  local after, next_version = whole(is), whole(last + 1)
  local change = kind .. '|' .. whole(is - was) .. '|' .. amount .. '|' .. after .. '|'
    .. arguments[a + 3]
  -- The first write: nothing was written where it finds something, or the wrong type.
  if call('HSETNX', history, next_version, change) == 0 then
    corrupt(history, 'a change beyond the last version')
  end
  call('HSET', account, 'a', after, 'v', next_version)
  local receipt = amount .. ' ' .. after .. ' ' .. next_version
  call('SET', keys[k + 1], fingerprint .. receipt)
  return { 'applied', receipt }
end
