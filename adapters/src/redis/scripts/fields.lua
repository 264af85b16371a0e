-- Some fields of several records at one moment. KEYS: records. ARGV: fields.
-- Changes nothing, and is refused by a replica, which would answer from stale data.
redis.call('HDEL', KEYS[1], '')
local answer = { 'fields' }
for _, key in ipairs(KEYS) do
  for i = 1, #ARGV do answer[#answer + 1] = redis.call('HGET', key, ARGV[i]) or '' end
end
return answer
