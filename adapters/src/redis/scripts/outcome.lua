-- The record of a transaction: a hash of
--   s state (P prepared, C committed, B rolled back) · f terms · n not_after
--   g forget_after · p prepared at · w the staged work · x the footprints of what it touches
-- `g` also stands, as a score, in the index of what can be forgotten.

-- The state, nil if nothing is known, or 'mismatch'. ARGV: terms, not_after, forget_after.
local function load_outcome(key)
  local found = redis.call('HMGET', key, 's', 'f', 'n', 'g')
  if not found[1] then return nil end
  if found[1] ~= 'P' and found[1] ~= 'C' and found[1] ~= 'B' then
    corrupt(key, 'no record of a transaction')
  end
  if found[2] ~= ARGV[1] or found[3] ~= ARGV[2] or found[4] ~= ARGV[3] then return 'mismatch' end
  return found[1]
end

-- What a refusal is decided by, and told by, outside: the state and the moment.
local function known(state, now) return { 'known', state or '', now } end

-- The footprint of every part that the work reads or writes, one in a line.
local function footprints_of(guards, writes)
  local kinds = {
    SET = 'whole', DEL = 'whole', INCR = 'value', HSET = 'field', HDEL = 'field',
    HINCR = 'field', SADD = 'member', SREM = 'member', RPUSH = 'type', ZADD = 'score',
  }
  local lines, keys = {}, {}
  for _, guard in ipairs(guards) do
    lines[#lines + 1] = footprint(guard.kind, guard.key, guard.argument)
    keys[#keys + 1] = guard.key
  end
  for _, write in ipairs(writes) do
    local argument = write.operation == 'RPUSH' and 'list' or write.a
    lines[#lines + 1] = footprint(kinds[write.operation], write.key, argument)
    keys[#keys + 1] = write.key
  end
  return lines, keys
end
