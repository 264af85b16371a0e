-- Applies a transaction with its outcome, in one phase.
-- KEYS: record, index in doubt, index to forget, reservations, then the transaction's keys.
-- ARGV: terms, not_after, forget_after, digest, holder, then the work.
local now = whole(clock())
local state = load_outcome(KEYS[1])
if state then on_master(KEYS[1]) end
if state or is_past(now, ARGV[2]) then return known(state, now) end

local guards, writes = read_work(6, 4)
local changed = changed_key(guards)
if changed then return { 'changed', changed } end
local holder = holder_of(KEYS[4], keys_of(writes), nil)
if holder then return { 'reserved', holder } end
local refusal = plan(writes)
if refusal then return refusal end
redis.call('ZSCORE', KEYS[3], ARGV[4])

apply(writes)
redis.call('HSET', KEYS[1], 's', 'C', 'f', ARGV[1], 'n', ARGV[2], 'g', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
return { 'committed' }
