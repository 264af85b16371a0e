-- Removes a completed key. KEYS: record, index of what expires. ARGV: key.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if is_held(record, now) then return { 'held', whole(record.deadline - now) } end
if record and not record.done then return { 'none' } end
redis.call('ZSCORE', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return { record and 'removed' or 'none' }
