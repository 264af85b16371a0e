-- What is known of an idempotency key. KEYS: record. Writes nothing.
on_master(KEYS[1])
local now = clock()
local record = load_record(KEYS[1], now)
if not record then return { 'none' } end
local left = record.deadline and whole(math.max(record.deadline - now, 0)) or ''
return {
  record.done and 'done' or (is_held(record, now) and 'held' or 'over'),
  record.fingerprint, record.state, record.outcome, record.token,
  record.deadline and whole(record.deadline) or '', record.completed_at, record.expires_at, left,
}
