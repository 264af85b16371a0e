-- Drops what was staged and leaves a tombstone, also where nothing was.
-- KEYS: record, index in doubt, index to forget, reservations, then the transaction's keys.
-- ARGV: terms, not_after, forget_after, digest, holder, whether the work was seen. Without it
-- the keys of a transaction that was prepared meanwhile are missing: the caller looks again.
on_master(KEYS[1])
local now = whole(clock())
local state = load_outcome(KEYS[1])
if state and state ~= 'P' or not state and is_forgotten(now) then return known(state, now) end
if state == 'P' and ARGV[6] ~= 'seen' then return { 'again' } end
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
redis.call('HGET', KEYS[4], ARGV[4])

for i = 5, #KEYS do
  if redis.call('HGET', KEYS[4], KEYS[i]) == ARGV[5] then redis.call('HDEL', KEYS[4], KEYS[i]) end
end
redis.call('HDEL', KEYS[1], 'w', 'x')
redis.call('HSET', KEYS[1], 's', 'B', 'f', ARGV[1], 'n', ARGV[2], 'g', ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
return { 'rolled back' }
