-- Who holds one of these keys for a prepared transaction; nil if nobody but `own` does.
local function holder_of(reservations, keys, own)
  if not any_reserved(reservations) then return nil end
  for _, key in ipairs(keys) do
    local holder = redis.call('HGET', reservations, key)
    if holder and holder ~= own then return holder, key end
  end
  return nil
end
