-- Reads parts of keys, each with its footprint. KEYS: the keys, then one of ours that is never there.
-- ARGV, for each part: kind, index of the key, argument (the expected type for a whole value).

-- Changes nothing, and is refused by a replica, which would answer from stale data.
redis.call('DEL', KEYS[#KEYS])
local READ = {
  string = function(key) return redis.call('GET', key) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
}

local answers = {}
for at = 1, #ARGV, 3 do
  local kind, key, argument = ARGV[at], KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2]
  local print = footprint(kind, key, argument)
  local value = false
  local wrong = string.match(print, '^type:(.*)')
  if kind == 'value' then
    -- A module's type has other characters too.
    local found = string.match(print, '^([^:]+):')
    if found == argument then
      value = READ[found](key)
    elseif found ~= 'none' then
      wrong = found
    end
  elseif kind == 'field' and string.sub(print, 1, 3) == 'is:' then
    value = redis.call('HGET', key, argument)
  elseif kind == 'member' then
    value = print == 'is' and '1' or false
  end
  if wrong then
    answers[#answers + 1] = { 'wrong', wrong }
  else
    answers[#answers + 1] = { 'read', print, value }
  end
end
return answers
