-- What was decided. KEYS: record. ARGV: fingerprint, not_after, forget_after.
local stands, finished = load_decision(KEYS[1])
return { stands or 'none', finished or '0' }
