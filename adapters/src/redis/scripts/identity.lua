-- The identity of the data: made once, or replaced.
-- KEYS: identity. ARGV: another identity; 'adopt' where it replaces the one that stands, 'existing'
-- where none is made.
local stands = redis.call('GET', KEYS[1])
if not stands and ARGV[2] == 'existing' then
  return { 'missing' }
end
if stands and ARGV[2] ~= 'adopt' then
  -- Reads again as a write, which a replica refuses: its data may be another's.
  redis.call('GETEX', KEYS[1])
  return { 'stands', stands }
end
redis.call('SET', KEYS[1], ARGV[1])
return { 'made', ARGV[1] }
