-- Applies a transaction together with the outcome of its idempotency key.
-- KEYS: record, index of what expires, reservations, then the transaction's keys.
-- ARGV: fingerprint, state, outcome, retention, key, required rows (statement=rows,…), what is returned
-- (the most bytes of the outcome, then for each statement <statement=most bytes,…), the work.
local now = clock()
local record = load_record(KEYS[1], now)
if is_taken(record, ARGV[1], now) then
  if record.done and record.fingerprint == ARGV[1] then on_master(KEYS[1]) end
  return facts(record, now)
end

local guards, writes = read_work(8, 3)
local changed = changed_key(guards)
if changed then return { 'changed', changed } end
local holder = holder_of(KEYS[3], keys_of(writes), nil)
if holder then return { 'reserved', holder } end
local refusal, rows = plan(writes)
if refusal then return refusal end
for statement, count in string.gmatch(ARGV[6], '(%d+)=(%d+)') do
  local found = rows[tonumber(statement)] or 0
  if tonumber(count) ~= found then return { 'rows', statement, whole(found), count } end
end
local outcome = ARGV[3]
if ARGV[7] ~= '' then
  local returned
  outcome, returned = with_rows(outcome, ARGV[7], writes, rows)
  if not outcome then return returned end
end
check_index(KEYS[2])

store_outcome(KEYS[1], KEYS[2], ARGV[5], now, {
  fingerprint = ARGV[1], state = ARGV[2], outcome = outcome, token = '', retention = ARGV[4],
})
apply(writes)
return { 'recorded', ARGV[7] ~= '' and outcome or '' }
