-- Where a transaction stands. KEYS: record. ARGV: terms, not_after, forget_after,
-- whether the staged work is wanted too.
on_master(KEYS[1])
local now = whole(clock())
local state = load_outcome(KEYS[1])
local answer = known(state, now)
if state == 'P' and ARGV[4] == 'work' then answer[4] = redis.call('HGET', KEYS[1], 'w') end
return answer
