-- Changes after a version, oldest first. KEYS: account, history. ARGV: version, limit.
on_master(KEYS[1])
local state = load_account(KEYS[1])
if not state then return { 'none' } end
local answer, version = { 'page', state.version }, add(ARGV[1], '1')
while version and not less(state.version, version) and #answer - 2 < tonumber(ARGV[2]) do
  local change = redis.call('HGET', KEYS[2], version)
  if not change then corrupt(KEYS[2], 'no change of version ' .. version) end
  answer[#answer + 1] = change
  version = add(version, '1')
end
return answer
