-- A transaction's guards (what it read) and writes: checked all, then applied all.

-- A guard is {kind, key, argument, footprint}; a write is {operation, key, a, b, statement}.
-- `at` is where they start in ARGV, `base` the number of keys before the transaction's own.
local function read_work(at, base)
  local guards, writes = {}, {}
  local count = tonumber(ARGV[at])
  at = at + 1
  for i = 1, count do
    guards[i] = {
      kind = ARGV[at], key = KEYS[base + tonumber(ARGV[at + 1])], argument = ARGV[at + 2],
      footprint = ARGV[at + 3],
    }
    at = at + 4
  end
  count = tonumber(ARGV[at])
  at = at + 1
  for i = 1, count do
    writes[i] = {
      operation = ARGV[at], key = KEYS[base + tonumber(ARGV[at + 1])], a = ARGV[at + 2],
      b = ARGV[at + 3], statement = tonumber(ARGV[at + 4]),
    }
    at = at + 5
  end
  return guards, writes, at
end

-- The first key that is no longer as it was read, or nil.
local function changed_key(guards)
  for _, guard in ipairs(guards) do
    if footprint(guard.kind, guard.key, guard.argument) ~= guard.footprint then
      return guard.key
    end
  end
  return nil
end

local function keys_of(list)
  local seen, keys = {}, {}
  for _, item in ipairs(list) do
    if not seen[item.key] then
      seen[item.key] = true
      keys[#keys + 1] = item.key
    end
  end
  return keys
end

-- The type that a key must have (or not be there at all) for an operation.
local NEEDS = {
  INCR = 'string', HSET = 'hash', HDEL = 'hash', HINCR = 'hash',
  SADD = 'set', SREM = 'set', RPUSH = 'list', ZADD = 'zset',
}

-- What the keys will be like, write by write, before anything is written.
local function new_sketch()
  local sketch = { types = {}, strings = {}, fields = {}, members = {}, gone = {}, more = {} }

  function sketch.type_of(key)
    if not sketch.types[key] then sketch.types[key] = redis.call('TYPE', key).ok end
    return sketch.types[key]
  end

  function sketch.replace(key, kind, value)
    sketch.types[key], sketch.strings[key] = kind, value
    sketch.fields[key], sketch.members[key], sketch.gone[key] = {}, {}, true
    sketch.more[key] = 0
  end

  function sketch.string(key)
    if sketch.strings[key] == nil then sketch.strings[key] = redis.call('GET', key) end
    return sketch.strings[key]
  end

  function sketch.field(key, name)
    local fields = sketch.fields[key] or {}
    sketch.fields[key] = fields
    if fields[name] == nil then
      fields[name] = not sketch.gone[key] and redis.call('HGET', key, name)
    end
    return fields[name]
  end

  function sketch.member(key, name)
    local members = sketch.members[key] or {}
    sketch.members[key] = members
    if members[name] == nil then
      members[name] = not sketch.gone[key] and redis.call('SISMEMBER', key, name) == 1
    end
    return members[name]
  end

  -- A key that was not there is of this type from now on, and begins with nothing.
  function sketch.be(key, kind)
    if sketch.types[key] == 'none' then sketch.replace(key, kind, nil) end
  end

  -- Notes a new part, or the end of one; a key without parts is none.
  function sketch.count(key, change, size_command)
    sketch.more[key] = (sketch.more[key] or 0) + change
    if change > 0 then return end
    local before = sketch.gone[key] and 0 or redis.call(size_command, key)
    if before + sketch.more[key] == 0 then sketch.replace(key, 'none', false) end
  end

  return sketch
end

-- The sum, or nil and the refusal.
local function sum_of(key, before, delta)
  before = before or '0'
  if not is_integer(before) then
    return nil, { 'refused', 'the value under ' .. key .. ' is no 64-bit integer' }
  end
  local after = add(before, delta)
  if not after then
    return nil, { 'overflow', 'the value under ' .. key .. ' would leave the 64-bit range' }
  end
  return after
end

-- One function for each operation: notes what it does and says how many rows that changes.
local PLAN = {}

function PLAN.SET(sketch, write)
  local condition = string.match(write.b, '^%u*')
  if condition ~= '' then
    local present = sketch.type_of(write.key) ~= 'none'
    if (condition == 'NX') == present then
      write.skip = true
      return 0
    end
  end
  sketch.replace(write.key, 'string', write.a)
  return 1
end

function PLAN.DEL(sketch, write)
  local present = sketch.type_of(write.key) ~= 'none'
  sketch.replace(write.key, 'none', false)
  return present and 1 or 0
end

function PLAN.INCR(sketch, write)
  local after, refusal = sum_of(write.key, sketch.string(write.key), write.a)
  if not after then return nil, refusal end
  sketch.types[write.key], sketch.strings[write.key] = 'string', after
  write.after = after
  return 1
end

-- A field that is set, to what it was or will be.
local function set_field(sketch, write, value)
  local new = not sketch.field(write.key, write.a)
  sketch.be(write.key, 'hash')
  sketch.fields[write.key][write.a] = value
  if new then sketch.count(write.key, 1) end
end

function PLAN.HSET(sketch, write)
  set_field(sketch, write, write.b)
  return 1
end

function PLAN.HDEL(sketch, write)
  if not sketch.field(write.key, write.a) then return 0 end
  sketch.fields[write.key][write.a] = false
  sketch.count(write.key, -1, 'HLEN')
  return 1
end

function PLAN.HINCR(sketch, write)
  local after, refusal = sum_of(write.key, sketch.field(write.key, write.a), write.b)
  if not after then return nil, refusal end
  set_field(sketch, write, after)
  write.after = after
  return 1
end

function PLAN.SADD(sketch, write)
  if sketch.member(write.key, write.a) then return 0 end
  sketch.be(write.key, 'set')
  sketch.members[write.key][write.a] = true
  sketch.count(write.key, 1)
  return 1
end

function PLAN.SREM(sketch, write)
  if not sketch.member(write.key, write.a) then return 0 end
  sketch.members[write.key][write.a] = false
  sketch.count(write.key, -1, 'SCARD')
  return 1
end

function PLAN.RPUSH(sketch, write)
  sketch.be(write.key, 'list')
  return 1
end

function PLAN.ZADD(sketch, write)
  sketch.be(write.key, 'zset')
  return 1
end

-- Checks every write. Gives nil and the rows that each statement changes, or the refusal.
local function plan(writes)
  local sketch, rows = new_sketch(), {}
  for _, write in ipairs(writes) do
    local need = NEEDS[write.operation]
    local kind = need and sketch.type_of(write.key)
    if need and kind ~= 'none' and kind ~= need then
      return { 'refused', 'the key ' .. write.key .. ' holds a ' .. kind .. ', not a ' .. need }
    end
    local changed, refusal = PLAN[write.operation](sketch, write)
    if refusal then return refusal end
    rows[write.statement] = (rows[write.statement] or 0) + changed
  end
  return nil, rows
end

-- The outcome with the rows of the statements that return some: each has one, with one value, the number
-- that a counter has then, or how many rows the statement changes. Or nil and the refusal.
local function with_rows(outcome, returned, writes, rows)
  local most, separator = tonumber(string.match(returned, '^%d+')), ''
  for statement, bytes in string.gmatch(returned, '<(%d+)=(%d+)') do
    local value = whole(rows[tonumber(statement)] or 0)
    for _, write in ipairs(writes) do
      if write.statement == tonumber(statement) and write.after then value = write.after end
    end
    local json = '[{"value":' .. value .. '}]'
    if #json > tonumber(bytes) then return nil, { 'too large', statement, bytes } end
    outcome, separator = outcome .. separator .. json, ','
  end
  outcome = outcome .. ']}'
  if #outcome > most then return nil, { 'receipt', whole(#outcome), whole(most) } end
  return outcome
end

-- One function for each operation. After `plan`, none can fail.
local APPLY = {
  SET = function(write)
    -- A condition, which `plan` has decided, then how long the value stays.
    local unit, time = string.match(write.b, '^%u* ?(%u*) ?(%d*)$')
    if time ~= '' then
      redis.call('SET', write.key, write.a, unit, time)
    elseif unit ~= '' then
      redis.call('SET', write.key, write.a, unit)
    else
      redis.call('SET', write.key, write.a)
    end
  end,
  -- The server frees a large one beside its other work.
  DEL = function(write) redis.call('UNLINK', write.key) end,
  INCR = function(write) redis.call('INCRBY', write.key, write.a) end,
  HSET = function(write) redis.call('HSET', write.key, write.a, write.b) end,
  HDEL = function(write) redis.call('HDEL', write.key, write.a) end,
  HINCR = function(write) redis.call('HINCRBY', write.key, write.a, write.b) end,
  SADD = function(write) redis.call('SADD', write.key, write.a) end,
  SREM = function(write) redis.call('SREM', write.key, write.a) end,
  RPUSH = function(write) redis.call('RPUSH', write.key, write.a) end,
  ZADD = function(write) redis.call('ZADD', write.key, write.b, write.a) end,
}

local function apply(writes)
  for _, write in ipairs(writes) do
    if not write.skip then APPLY[write.operation](write) end
  end
end
