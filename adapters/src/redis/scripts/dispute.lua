-- Notes that a participant did not obey the decision, which is then unfinished, and in no index to
-- forget, until it is settled. The first note of each participant stands.
-- KEYS: record, index of what is unfinished, index to forget.
-- ARGV: terms, not_after, forget_after, digest, decision, the participant, the dispute.
on_master(KEYS[1])
local stands, finished = load_decision(KEYS[1])
if not stands then return { 'none', whole(clock()) } end
if stands == 'mismatch' then return { 'mismatch' } end
local noted = redis.call('HMGET', KEYS[1], 'm', 't', 'd')
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
local disputes = noted[3] or ''
if stands ~= ARGV[5] or noted[2] or string.find(disputes, ARGV[6], 1, true) then
  return { 'stands', stands, finished, noted[1] or '', noted[2] or '', disputes }
end
if disputes ~= '' then disputes = disputes .. ' ' end
redis.call('HSET', KEYS[1], 'z', '0', 'd', disputes .. ARGV[7])
redis.call('ZADD', KEYS[2], 0, ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[4])
return { 'disputed' }
