-- What an index says is due by now. KEYS: index, a sorted set by time. ARGV: limit. Only reads.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(clock()), 'LIMIT', 0, ARGV[1])
table.insert(due, 1, 'due')
return due
