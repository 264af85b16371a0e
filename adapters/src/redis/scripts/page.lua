-- A page of digests from an index whose members are in their own order. KEYS: index. ARGV: after
-- (or empty), limit. The time comes first.
-- Changes nothing, and is refused by a replica, which would answer from stale data.
call('ZREM', KEYS[1], '')
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local page = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[2])
table.insert(page, 1, whole(clock()))
table.insert(page, 1, 'page')
return page
