-- The footprint of what a transaction saw or touches: equal footprints, equal content. Built from
-- the content in a fixed order, not by DUMP, whose bytes change with a restart.

local function digest_of(list)
  local parts = {}
  for i, item in ipairs(list) do parts[i] = #item .. ':' .. item end
  return redis.sha1hex(table.concat(parts))
end

-- A digest of parts that have no order of their own: the sum of their digests, in limbs of 32 bits.
-- Not sorted, because Lua compares strings by the server's locale (and takes seconds over it).
local function unordered(count, part_at)
  local a, b, c, d, e = 0, 0, 0, 0, 0
  for i = 1, count do
    local hex = redis.sha1hex(part_at(i))
    a = a + tonumber(string.sub(hex, 1, 8), 16)
    b = b + tonumber(string.sub(hex, 9, 16), 16)
    c = c + tonumber(string.sub(hex, 17, 24), 16)
    d = d + tonumber(string.sub(hex, 25, 32), 16)
    e = e + tonumber(string.sub(hex, 33, 40), 16)
    -- Exact up to 2^53.
    if i % 1000000 == 0 then
      a, b, c, d, e = a % 2 ^ 32, b % 2 ^ 32, c % 2 ^ 32, d % 2 ^ 32, e % 2 ^ 32
    end
  end
  return string.format('%d:%.0f.%.0f.%.0f.%.0f.%.0f', count,
    a % 2 ^ 32, b % 2 ^ 32, c % 2 ^ 32, d % 2 ^ 32, e % 2 ^ 32)
end

local CONTENT = {
  none = function() return '' end,
  string = function(key) return redis.sha1hex(redis.call('GET', key)) end,
  hash = function(key)
    local flat = redis.call('HGETALL', key)
    return unordered(#flat / 2, function(i)
      return #flat[2 * i - 1] .. ':' .. flat[2 * i - 1] .. '=' .. flat[2 * i]
    end)
  end,
  set = function(key)
    local members = redis.call('SMEMBERS', key)
    return unordered(#members, function(i) return members[i] end)
  end,
  list = function(key) return digest_of(redis.call('LRANGE', key, 0, -1)) end,
  zset = function(key) return digest_of(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')) end,
}

-- How many parts a key has. To overwrite or remove a large one must not read all of it.
local SIZE = { hash = 'HLEN', set = 'SCARD', list = 'LLEN', zset = 'ZCARD' }

-- value: all of the key · whole: its type and number of parts, a string's content · field, member, score: one of its parts · type: fit for
-- appending · present: whether there is anything
local function footprint(kind, key, argument)
  local found = redis.call('TYPE', key).ok
  if kind == 'value' then
    local content = CONTENT[found]
    return found .. ':' .. (content and content(key) or redis.sha1hex(redis.call('DUMP', key)))
  end
  if kind == 'whole' then
    if SIZE[found] then return found .. ':' .. redis.call(SIZE[found], key) end
    return found == 'string' and 'string:' .. CONTENT.string(key) or found
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
