-- What was decided. KEYS: record. ARGV: terms, not_after, forget_after.
on_master(KEYS[1])
local stands, finished = load_decision(KEYS[1])
local found = redis.call('HMGET', KEYS[1], 'm', 't', 'd')
return { stands or 'none', finished or '0', found[1] or '', found[2] or '', found[3] or '' }
