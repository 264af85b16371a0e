-- The footprint of what a transaction saw or touches: equal footprints, equal content. Built from
-- the content in a fixed order, not by DUMP, whose bytes change with a restart.

local function digest_of(list)
  local parts = {}
  for i, item in ipairs(list) do parts[i] = #item .. ':' .. item end
  return redis.sha1hex(table.concat(parts))
end

local function sorted_pairs(flat)
  local pairs_list = {}
  for i = 1, #flat, 2 do
    pairs_list[#pairs_list + 1] = #flat[i] .. ':' .. flat[i] .. '=' .. flat[i + 1]
  end
  table.sort(pairs_list)
  return pairs_list
end

local CONTENT = {
  none = function() return '' end,
  string = function(key) return redis.sha1hex(redis.call('GET', key)) end,
  hash = function(key) return digest_of(sorted_pairs(redis.call('HGETALL', key))) end,
  set = function(key)
    local members = redis.call('SMEMBERS', key)
    table.sort(members)
    return digest_of(members)
  end,
  list = function(key) return digest_of(redis.call('LRANGE', key, 0, -1)) end,
  zset = function(key) return digest_of(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')) end,
}

-- value: all of the key · field, member, score: one of its parts · type: fit for
-- appending · present: whether there is anything
local function footprint(kind, key, argument)
  local found = redis.call('TYPE', key).ok
  if kind == 'value' then
    local content = CONTENT[found]
    return found .. ':' .. (content and content(key) or redis.sha1hex(redis.call('DUMP', key)))
  end
  if kind == 'type' then
    return (found == 'none' or found == argument) and 'fits' or 'type:' .. found
  end
  if kind == 'present' then return found == 'none' and 'no' or 'yes' end
  if found == 'none' then return 'absent' end
  local need = kind == 'field' and 'hash' or kind == 'member' and 'set' or 'zset'
  if found ~= need then return 'type:' .. found end
  if kind == 'field' then
    local value = redis.call('HGET', key, argument)
    return value and 'is:' .. redis.sha1hex(value) or 'absent'
  end
  if kind == 'member' then
    return redis.call('SISMEMBER', key, argument) == 1 and 'is' or 'absent'
  end
  local score = redis.call('ZSCORE', key, argument)
  return score and 'is:' .. score or 'absent'
end
