-- Gives a lease back. KEYS: record. ARGV: fingerprint, token.
on_master(KEYS[1])
local record = load_record(KEYS[1], clock())
if not record then return { 'released' } end
if record.done or record.token ~= ARGV[2] or record.fingerprint ~= ARGV[1] then
  return { 'fenced' }
end
redis.call('DEL', KEYS[1])
return { 'released' }
