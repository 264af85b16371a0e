-- What an index says is due by now. KEYS: index, a sorted set by time. ARGV: limit. Only reads.
-- Changes nothing, and is refused by a replica, which would answer from stale data.
call('ZREM', KEYS[1], '')
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(clock()), 'LIMIT', 0, ARGV[1])
table.insert(due, 1, 'due')
return due
