-- Removes records of transactions or decisions whose time is over.
-- KEYS: index to forget, records. ARGV: their digests. A prepared or unfinished one stays.
local now, removed = whole(clock()), 0
local found = {}
for i = 1, #ARGV do found[i] = redis.call('HMGET', KEYS[i + 1], 's', 'g', 'v', 'z') end
for i = 1, #ARGV do
  local state, forget_after, decision, finished = unpack(found[i])
  local over = state == 'C' or state == 'B' or decision == 'rollback' or finished == '1'
  if over and forget_after and less(forget_after, now) then
    redis.call('DEL', KEYS[i + 1])
    redis.call('ZREM', KEYS[1], ARGV[i])
    removed = removed + 1
  elseif not state and not decision then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return { 'removed', whole(removed) }
