-- Stages a transaction: its work, its outcome to be, and reservations for all it touches.
-- KEYS: record, index in doubt, index to forget, reservations, then the transaction's keys.
-- ARGV: terms, not_after, forget_after, digest, holder, staged work as bytes, then the work.
local now = whole(clock())
local state = load_outcome(KEYS[1])
if state then on_master(KEYS[1]) end
if state or is_past(now, ARGV[2]) then return known(state, now) end

local guards, writes = read_work(7, 4)
local changed = changed_key(guards)
if changed then return { 'changed', changed } end
local touched = {}
for _, guard in ipairs(guards) do touched[#touched + 1] = guard end
for _, write in ipairs(writes) do touched[#touched + 1] = write end
local keys = keys_of(touched)
local holder = holder_of(KEYS[4], keys, nil)
if holder then return { 'reserved', holder } end
local refusal = plan(writes)
if refusal then return refusal end
local lines = footprints_of(guards, writes)
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
redis.call('HGET', KEYS[4], ARGV[4])

for _, key in ipairs(keys) do redis.call('HSET', KEYS[4], key, ARGV[5]) end
redis.call('HSET', KEYS[1], 's', 'P', 'f', ARGV[1], 'n', ARGV[2], 'g', ARGV[3], 'p', now,
  'w', ARGV[6], 'x', table.concat(lines, '\n'))
redis.call('ZADD', KEYS[2], 0, ARGV[4])
return { 'prepared' }
