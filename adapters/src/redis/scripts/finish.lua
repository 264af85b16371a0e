-- Notes that every participant has confirmed this decision. Another one is never finished, nor one that
-- a participant disputes or that was settled: then the reply is what stands.
-- KEYS: record, index of what is unfinished, index to forget.
-- ARGV: terms, not_after, forget_after, digest, decision.
on_master(KEYS[1])
local stands, finished = load_decision(KEYS[1])
if not stands then return { 'none', whole(clock()) } end
if stands == 'mismatch' then return { 'mismatch' } end
local noted = redis.call('HMGET', KEYS[1], 'm', 't', 'd')
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
if stands ~= ARGV[5] or noted[2] or noted[3] then
  return { 'stands', stands, finished, noted[1] or '', noted[2] or '', noted[3] or '' }
end
redis.call('HSET', KEYS[1], 'z', '1')
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
return { 'finished' }
