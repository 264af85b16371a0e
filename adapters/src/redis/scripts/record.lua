-- The record of an idempotency key: a hash of
--   f fingerprint · s state (L leased, A applied, J rejected) · o outcome · t fencing token
--   d deadline of the lease · r how long it is kept after that · c completed at · e expires at (empty: never), in microseconds.

-- The record, or nil if there is none or its retention has passed.
local function load_record(key, now)
  local found = redis.call('HMGET', key, 'f', 's', 'o', 't', 'd', 'c', 'e')
  local record = {
    fingerprint = found[1], state = found[2], outcome = found[3] or '', token = found[4] or '',
    deadline = tonumber(found[5] or ''), completed_at = found[6] or '', expires_at = found[7] or '',
  }
  if not record.state then return nil end
  record.done = record.state == 'A' or record.state == 'J'
  if not record.fingerprint or not (record.done or record.state == 'L' and record.deadline) then
    error('EOCORRUPT no record of an idempotency key under the key ' .. key)
  end
  if record.done and record.expires_at ~= '' and now >= tonumber(record.expires_at) then
    return nil
  end
  return record
end

-- Whether the key may not be taken for this request.
local function is_taken(record, fingerprint, now)
  if not record then return false end
  return record.done or record.fingerprint ~= fingerprint or now < record.deadline
end

-- What a refusal is decided by, and told by, outside: the record and the moment.
local function facts(record, now)
  if not record then return { 'known' } end
  return {
    'known', record.fingerprint, record.state, record.outcome, record.token,
    record.deadline and whole(record.deadline) or '', record.completed_at, record.expires_at,
    whole(now),
  }
end

-- Replaces whatever is there by the outcome. `member` stands in the index of what expires. HSET
-- comes first: the server refuses it when its memory is full, and then nothing was written.
local function store_outcome(key, index, member, now, fields)
  local expires_at = ''
  if fields.retention ~= '' then expires_at = whole(now + tonumber(fields.retention)) end
  redis.call('HSET', key, 'f', fields.fingerprint, 's', fields.state, 'o', fields.outcome,
    't', fields.token, 'd', '', 'c', whole(now), 'e', expires_at)
  if expires_at == '' then
    redis.call('ZREM', index, member)
  else
    redis.call('ZADD', index, expires_at, member)
  end
end
