-- What is known of an idempotency key. KEYS: record. Writes nothing.
on_master(KEYS[1])
local now = clock()
return facts(load_record(KEYS[1], now), now)
