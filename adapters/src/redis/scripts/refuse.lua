-- Records that a balance operation was refused, for good; unless an earlier attempt was faster.
-- KEYS: operation record, reservations. ARGV: fingerprint, the refusal.
local before = known(KEYS[1], ARGV[1])
if before then return before end
local holder = holder_of(KEYS[2], { KEYS[1] }, nil)
if holder then return { 'reserved', holder } end
redis.call('SET', KEYS[1], ARGV[1] .. '!' .. ARGV[2])
return { 'recorded' }
