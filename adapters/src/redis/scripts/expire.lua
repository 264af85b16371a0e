-- Removes records whose retention has passed. KEYS: index, records. ARGV: their keys.
local now, removed = clock(), 0
local states = {}
for i = 1, #ARGV do states[i] = redis.call('HMGET', KEYS[i + 1], 's', 'e') end
for i = 1, #ARGV do
  local done = states[i][1] == 'A' or states[i][1] == 'J'
  local expires_at = done and states[i][2] ~= '' and states[i][2]
  if expires_at and tonumber(expires_at) <= now then
    redis.call('DEL', KEYS[i + 1])
    redis.call('ZREM', KEYS[1], ARGV[i])
    removed = removed + 1
  elseif expires_at then
    redis.call('ZADD', KEYS[1], expires_at, ARGV[i])
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return { 'removed', whole(removed) }
