-- Takes a refused attempt's part of a binding back. An attempt that was applied, or may have been,
-- never does, so the binding stays. KEYS: binding. ARGV: fingerprint.
if redis.call('HGET', KEYS[1], 'f') ~= ARGV[1] then return { 'unbound' } end
local attempts = tonumber(redis.call('HGET', KEYS[1], 'n') or '0')
if attempts <= 1 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HINCRBY', KEYS[1], 'n', -1)
end
return { 'unbound' }
