-- Writes a decision, or gives the one that stands, and how it was settled.
-- KEYS: record, index of what is unfinished, index to forget.
-- ARGV: terms, not_after, forget_after, digest, proposal, the participants.
on_master(KEYS[1])
local now = whole(clock())
local stands = load_decision(KEYS[1])
if stands then return { stands, redis.call('HGET', KEYS[1], 't') or '' } end
if is_forgotten(now) then return { 'none', now } end
local decision = ARGV[5]
if is_past(now, ARGV[2]) then decision = 'rollback' end
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[1], 'v', decision, 'z', '0', 'f', ARGV[1], 'n', ARGV[2], 'g', ARGV[3],
  'm', ARGV[6])
redis.call('ZADD', KEYS[2], 0, ARGV[4])
-- A commit is forgotten only when finished; until then it is in no index to forget.
if decision == 'rollback' then redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4]) end
return { decision, '' }
