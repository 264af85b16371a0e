-- Removes records whose retention has passed, and leases that lapsed as long ago. KEYS: index, records. ARGV: their keys.
local now, removed = clock(), 0
local states = {}
for i = 1, #ARGV do states[i] = redis.call('HMGET', KEYS[i + 1], 's', 'e', 'd', 'r') end
for i = 1, #ARGV do
  local done = states[i][1] == 'A' or states[i][1] == 'J'
  local expires_at = done and states[i][2] ~= '' and states[i][2]
  -- A lease is kept for a retention after it has lapsed; it may have been renewed.
  local deadline, retention = tonumber(states[i][3] or ''), tonumber(states[i][4] or '')
  if states[i][1] == 'L' and deadline and retention then
    expires_at = whole(deadline + retention)
  end
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
