-- Applies a plain transaction. KEYS: reservations, then the transaction's keys. ARGV: its work.
local guards, writes = read_work(1, 1)
local changed = changed_key(guards)
if changed then return { 'changed', changed } end
local holder = holder_of(KEYS[1], keys_of(writes), nil)
if holder then return { 'reserved', holder } end
local refusal = plan(writes)
if refusal then return refusal end
apply(writes)
return { 'ok' }
