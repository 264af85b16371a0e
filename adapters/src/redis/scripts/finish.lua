-- Notes that every participant has been told.
-- KEYS: record, index of what is unfinished, index to forget.
-- ARGV: terms, not_after, forget_after, digest.
on_master(KEYS[1])
local stands = load_decision(KEYS[1])
if not stands then return { 'none', whole(clock()) } end
if stands == 'mismatch' then return { 'mismatch' } end
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
if redis.call('HGET', KEYS[1], 't') then return { 'finished' } end
redis.call('HSET', KEYS[1], 'z', '1')
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
return { 'finished' }
