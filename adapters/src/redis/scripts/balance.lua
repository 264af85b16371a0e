-- The state of an account. KEYS: account. Writes nothing.
on_master(KEYS[1])
local state = load_account(KEYS[1])
if not state then return { 'none' } end
return { 'account', plain_state(state) }
