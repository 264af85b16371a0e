-- Records the outcome of a lease.
-- KEYS: record, index of what expires. ARGV: fingerprint, token, state, outcome, retention, key.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if not record or record.done or record.token ~= ARGV[2] or record.fingerprint ~= ARGV[1] then
  return facts(record, now)
end
redis.call('ZSCORE', KEYS[2], ARGV[6])
store_outcome(KEYS[1], KEYS[2], ARGV[6], now, {
  fingerprint = ARGV[1], state = ARGV[3], outcome = ARGV[4], token = ARGV[2], retention = ARGV[5],
})
return { 'recorded' }
