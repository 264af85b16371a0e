-- Decides and applies a balance operation, all its legs or none.
-- KEYS: operation record, reservations, then account and history of each leg.
-- ARGV: kind, fingerprint, key, then for each leg: amount or delta, expected version, floor.
-- The receipt is `before after version;` for each leg.
-- `change_quick.lua` comes before it, and has answered what is known already.
-- What is accepted here is what the crate's rules accept; a refusal gives the state back, so that
-- the caller's rules word it.
local kind, fingerprint, name = ARGV[1], ARGV[2], ARGV[3]
local legs, touched = {}, { KEYS[1] }
for i = 1, (#KEYS - 2) / 2 do
  local at = 4 + (i - 1) * 3
  legs[i] = {
    account = KEYS[1 + 2 * i], history = KEYS[2 + 2 * i],
    amount = ARGV[at], expected = ARGV[at + 1], floor = ARGV[at + 2],
  }
  touched[#touched + 1] = legs[i].account
end
local holder = holder_of(KEYS[2], touched, nil)
if holder then return { 'reserved', holder } end

local function allows(floor, amount)
  return floor == 'none' or not less(amount, floor)
end

-- What the leg makes of the state: before, after, the floor to keep, the floor to check; nil where
-- it is refused.
local function outcome(leg, state)
  local open = state and state.open
  local opens = kind == 'open' or (kind == 'compare_and_set' and leg.expected == 'absent')
  if opens then
    local floor = leg.floor == '' and '0' or leg.floor
    if open then return nil end
    return '0', leg.amount, floor, floor
  end
  if not open then return nil end
  if leg.expected ~= '' and leg.expected ~= state.version then return nil end
  if kind == 'close' then
    if state.amount ~= '0' then return nil end
    return '0', '0', state.floor, 'none'
  end
  local check = leg.floor == '' and state.floor or leg.floor
  if kind == 'compare_and_set' then return state.amount, leg.amount, state.floor, check end
  local after = add(state.amount, leg.amount)
  if not after then return nil end
  -- A credit is never refused for the floor: it brings the account nearer to it.
  if not less(leg.amount, '0') then check = 'none' end
  return state.amount, after, state.floor, check
end

local steps = {}
for i, leg in ipairs(legs) do
  local state = load_account(leg.account)
  local before, after, keep, check = outcome(leg, state)
  local delta = before and subtract(after, before)
  local version = (not state and '1') or (state.version ~= MAX_VERSION and add(state.version, '1'))
  if not delta or not version or not allows(check, after) then
    return { 'refused', whole(i - 1), plain_state(state) }
  end
  if redis.call('HEXISTS', leg.history, version) == 1 then
    corrupt(leg.history, 'a change beyond the last version')
  end
  steps[i] = { before = before, after = after, keep = keep, delta = delta, version = version }
end

local receipt = {}
for i, step in ipairs(steps) do
  local leg = legs[i]
  redis.call('HSET', leg.account, 'a', step.after, 'v', step.version, 'f', step.keep,
    'o', kind == 'close' and '0' or '1')
  redis.call('HSET', leg.history, step.version,
    table.concat({ kind, step.delta, step.before, step.after, name }, '|'))
  receipt[i] = step.before .. ' ' .. step.after .. ' ' .. step.version
end
receipt = table.concat(receipt, ';')
redis.call('SET', KEYS[1], fingerprint .. receipt)
return { 'applied', receipt }
