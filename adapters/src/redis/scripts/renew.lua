-- Extends a lease. KEYS: record. ARGV: fingerprint, token, ttl.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if not record or record.done or record.token ~= ARGV[2] or record.fingerprint ~= ARGV[1] then
  return facts(record, now)
end
local deadline = whole(now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'd', deadline)
return { 'granted', record.token, deadline }
