-- Gives a lease back. KEYS: record. ARGV: fingerprint, token.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if not record or record.done or record.token ~= ARGV[2] or record.fingerprint ~= ARGV[1] then
  return facts(record, now)
end
redis.call('DEL', KEYS[1])
return { 'released' }
