-- Exact 64-bit arithmetic on decimal strings.
-- A Lua number is a double and holds no more than 53 bits, so no amount ever becomes one: it is
-- split into two limbs of ten digits, each of which a double holds exactly.
local LIMB = 10000000000
local MAX_DIGITS, MIN_DIGITS = '9223372036854775807', '9223372036854775808'
local MAX_VERSION = MAX_DIGITS

-- Whether a string is a 64-bit integer as Redis itself would print it: no +, no -0, no 05.
local function is_integer(text)
  if not text then return false end
  if text == '0' then return true end
  local sign, digits = string.match(text, '^(%-?)([1-9]%d*)$')
  if not digits or #digits > 19 then return false end
  if #digits < 19 then return true end
  return digits <= (sign == '-' and MIN_DIGITS or MAX_DIGITS)
end

-- The high and the low limb, both with the number's sign.
local function limbs(text)
  local negative = string.sub(text, 1, 1) == '-'
  local digits = negative and string.sub(text, 2) or text
  local low = tonumber(string.sub(digits, -10))
  local high = tonumber(string.sub(digits, 1, -11)) or 0
  if negative then return -high, -low end
  return high, low
end

-- A string again, or nil where the number does not fit 64 bits.
local function from_limbs(high, low)
  if low >= LIMB then
    high, low = high + 1, low - LIMB
  elseif low <= -LIMB then
    high, low = high - 1, low + LIMB
  end
  if high > 0 and low < 0 then
    high, low = high - 1, low + LIMB
  elseif high < 0 and low > 0 then
    high, low = high + 1, low - LIMB
  end
  local sign = (high < 0 or low < 0) and '-' or ''
  high, low = math.abs(high), math.abs(low)
  local text
  if high == 0 then
    text = sign .. string.format('%.0f', low)
  else
    text = sign .. string.format('%.0f%010.0f', high, low)
  end
  return is_integer(text) and text or nil
end

local function add(left, right)
  local high, low = limbs(left)
  local more_high, more_low = limbs(right)
  return from_limbs(high + more_high, low + more_low)
end

local function subtract(left, right)
  local high, low = limbs(left)
  local less_high, less_low = limbs(right)
  return from_limbs(high - less_high, low - less_low)
end

-- Whether left < right, by sign, then length, then digits.
local function less(left, right)
  if left == right then return false end
  local left_negative = string.sub(left, 1, 1) == '-'
  local right_negative = string.sub(right, 1, 1) == '-'
  if left_negative ~= right_negative then return left_negative end
  if #left ~= #right then return (#left < #right) ~= left_negative end
  return (left < right) ~= left_negative
end
