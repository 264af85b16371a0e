-- Holds a key. KEYS: record, index of what expires, fencing counter. ARGV: fingerprint, ttl, key,
-- retention.
local now = clock()
local record = load_record(KEYS[1], now)
if is_taken(record, ARGV[1], now) then
  if record.done and record.fingerprint == ARGV[1] then on_master(KEYS[1]) end
  return facts(record, now)
end

local last = redis.call('GET', KEYS[3]) or '0'
if not is_integer(last) then corrupt(KEYS[3], 'no fencing counter') end
redis.call('ZSCORE', KEYS[2], ARGV[3])
-- The next number, but never below the time: a token grows even over a failover that lost the
-- counter's last steps.
local token = add(last, '1')
if less(token, whole(now)) then token = whole(now) end
local deadline = whole(now + tonumber(ARGV[2]))

redis.call('SET', KEYS[3], token)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'f', ARGV[1], 's', 'L', 't', token, 'd', deadline, 'r', ARGV[4])
-- A lease that lapses and is never taken over is removed a retention later.
if ARGV[4] == '' then
  redis.call('ZREM', KEYS[2], ARGV[3])
else
  redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[2]) + tonumber(ARGV[4])), ARGV[3])
end
return { 'granted', token, deadline }
