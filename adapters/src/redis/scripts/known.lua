-- What the record of a balance operation says; nil if there is none. The record is the fingerprint
-- (32 bytes), then the receipt, or `!` and the refusal.
local function known(key, fingerprint)
  local stored = redis.call('GET', key)
  if not stored then return nil end
  -- Reads again as a write, which a replica refuses: a replay never comes from stale data.
  redis.call('GETEX', key)
  if string.sub(stored, 1, 32) ~= fingerprint then return { 'mismatch' } end
  if string.sub(stored, 33, 33) == '!' then return { 'known', string.sub(stored, 34) } end
  return { 'replayed', string.sub(stored, 33) }
end
