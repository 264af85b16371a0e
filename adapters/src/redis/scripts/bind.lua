-- On a cluster an operation's record lies with its account. This binds the operation's key, which
-- may lie elsewhere, to one request, before anything is applied. KEYS: binding. ARGV: fingerprint.
local bound = redis.call('HGET', KEYS[1], 'f')
if bound and bound ~= ARGV[1] then return { 'mismatch' } end
redis.call('HSET', KEYS[1], 'f', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'n', 1)
return { 'bound' }
