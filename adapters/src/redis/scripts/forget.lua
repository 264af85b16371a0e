-- Removes a completed key. KEYS: record, index of what expires. ARGV: key.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if record and not record.done then return facts(record, now) end
redis.call('ZSCORE', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if not record then return facts(record, now) end
return { 'removed' }
