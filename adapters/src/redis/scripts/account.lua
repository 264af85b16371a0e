-- An account is a hash: a amount · v version · f floor ('none' or an amount) · o open (1 or 0).
-- Its history is a hash: version -> kind|delta|before|after|key.

-- The account's state, or nil if it never was.
local function load_account(key)
  local found = redis.call('HMGET', key, 'a', 'v', 'f', 'o')
  if not (found[1] or found[2] or found[3] or found[4]) then return nil end
  local state = { amount = found[1], version = found[2], floor = found[3], open = found[4] == '1' }
  local sound = is_integer(state.amount) and is_integer(state.version) and less('0', state.version)
    and (state.floor == 'none' or is_integer(state.floor))
    and (found[4] == '1' or found[4] == '0')
  if not sound then corrupt(key, 'no account') end
  return state
end

-- As the caller reads it; a missing account is four empty strings.
local function plain_state(state)
  if not state then return '', '', '', '' end
  return state.amount, state.version, state.floor, state.open and '1' or '0'
end
