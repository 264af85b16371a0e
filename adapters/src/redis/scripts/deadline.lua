-- Deadlines by the server's clock. ARGV of whoever uses it: fingerprint, not_after, forget_after.
-- They are any 64-bit integers, so they are compared as strings.
local function is_past(now, deadline)
  return less(deadline, now)
end

local function is_forgotten(now)
  return is_past(now, ARGV[3])
end
