-- Where a transaction stands. KEYS: record. ARGV: terms, not_after, forget_after,
-- whether the staged work is wanted too.
on_master(KEYS[1])
local now = whole(clock())
local state = load_outcome(KEYS[1])
if state == 'P' and ARGV[4] == 'work' then
  return { 'state', 'P', redis.call('HGET', KEYS[1], 'w') }
end
if state then return { 'state', state } end
if is_forgotten(now) then return { 'forgotten' } end
return { is_past(now, ARGV[2]) and 'late' or 'none' }
