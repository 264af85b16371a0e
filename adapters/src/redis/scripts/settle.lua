-- Records how an operator settled a decision, and finishes it. The first settlement stands, and is kept
-- for good: it is in no index to forget.
-- KEYS: record, index of what is unfinished, index to forget.
-- ARGV: terms, not_after, forget_after, digest, the settlement.
on_master(KEYS[1])
local stands = load_decision(KEYS[1])
if not stands then return { 'none', whole(clock()) } end
if stands == 'mismatch' then return { 'mismatch' } end
local settled = redis.call('HGET', KEYS[1], 't')
if settled then return { 'settled', settled } end
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[1], 'z', '1', 't', ARGV[5])
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[4])
return { 'settled', ARGV[5] }
