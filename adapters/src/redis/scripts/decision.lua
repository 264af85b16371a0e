-- The record of a decision: a hash of v decision · z finished · f, n, g as of a transaction
-- m the participants' identities, 16 bytes each · t how an operator settled it
-- d the participants that did not obey it, with a space between them.

-- The decision and whether it is finished; nil if there is none; 'mismatch'.
local function load_decision(key)
  local found = redis.call('HMGET', key, 'v', 'z', 'f', 'n', 'g')
  if not found[1] then return nil end
  if found[1] ~= 'commit' and found[1] ~= 'rollback' then corrupt(key, 'no decision') end
  if found[3] ~= ARGV[1] or found[4] ~= ARGV[2] or found[5] ~= ARGV[3] then return 'mismatch' end
  return found[1], found[2]
end
