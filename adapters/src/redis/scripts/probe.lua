-- Tries every command that the scripts use, by its name, so that a user without one of them,
-- or a server that has renamed it, is refused before anything is written and not in the middle of it.
-- ARGV: a key of ours that is never there. Answers the names of what can't be used, each followed by
-- what the server says. Nothing is changed: what would be is malformed, except for one field, which
-- is removed again.
local key = ARGV[1]
local tries = {
  { 'TIME' }, { 'EXISTS', key }, { 'TYPE', key }, { 'DUMP', key },
  { 'GET', key }, { 'GETEX', key }, { 'SET', key, '', 'XX' }, { 'INCRBY', key, 'x' },
  { 'HGET', key, 'f' }, { 'HMGET', key, 'f' }, { 'HGETALL', key }, { 'HEXISTS', key, 'f' },
  { 'HLEN', key }, { 'HDEL', key, 'f' }, { 'HSET', key, 'f', '', 'x' },
  { 'HINCRBY', key, 'f', 'x' }, { 'HSETNX', key, 'f', '' },
  -- From here on the key is a hash, and of the wrong type.
  { 'SADD', key, 'm' }, { 'SREM', key, 'm' }, { 'SCARD', key }, { 'SISMEMBER', key, 'm' },
  { 'SMEMBERS', key }, { 'RPUSH', key, '' }, { 'LLEN', key }, { 'LRANGE', key, '0', '-1' },
  { 'ZADD', key, 'x', 'm' }, { 'ZREM', key, 'm' }, { 'ZCARD', key }, { 'ZSCORE', key, 'm' },
  { 'ZRANGE', key, '0', '-1' }, { 'ZRANGEBYSCORE', key, '0', '0' },
  { 'ZRANGEBYLEX', key, '-', '+' }, { 'DEL', key }, { 'UNLINK', key },
}
local answer = {}
for _, try in ipairs(tries) do
  local tried = redis.pcall(unpack(try))
  local said = type(tried) == 'table' and tried.err
  if said and (string.find(said, 'user executing the script') or string.find(said, 'ACL failure')
    or string.find(said, 'NOPERM') or string.find(said, 'Unknown .*command')) then
    answer[#answer + 1] = try[1]
    answer[#answer + 1] = said
  end
end
return answer
