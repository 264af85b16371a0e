-- Applies what was staged, if nobody changed what it touches.
-- KEYS: record, index in doubt, index to forget, reservations, then the transaction's keys.
-- ARGV: terms, not_after, forget_after, digest, holder, then the work.
on_master(KEYS[1])
local now = whole(clock())
local state = load_outcome(KEYS[1])
if state ~= 'P' then return known(state, now) end

local guards, writes = read_work(6, 4)
local lines, keys = footprints_of(guards, writes)
local expected = redis.call('HGET', KEYS[1], 'x')
if table.concat(lines, '\n') ~= expected then
  local at = 0
  for line in string.gmatch(expected .. '\n', '(.-)\n') do
    at = at + 1
    if line ~= lines[at] then return { 'heuristic', keys[at] or '' } end
  end
  return { 'heuristic', '' }
end
local refusal = plan(writes)
if refusal then return { 'heuristic', refusal[2] } end
redis.call('ZSCORE', KEYS[2], ARGV[4])
redis.call('ZSCORE', KEYS[3], ARGV[4])
redis.call('HGET', KEYS[4], ARGV[4])

apply(writes)
for _, key in ipairs(keys) do
  if redis.call('HGET', KEYS[4], key) == ARGV[5] then redis.call('HDEL', KEYS[4], key) end
end
redis.call('HDEL', KEYS[1], 'w', 'x')
redis.call('HSET', KEYS[1], 's', 'C')
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
return { 'committed' }
