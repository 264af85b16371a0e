-- KEYS: of all calls, one after the other.
-- ARGV: the number of calls; for each, how many keys and how many arguments; then the arguments of
-- all calls, one after the other.
-- Each call answers, or fails, by itself: { '!', message } is the error that it alone met.
local all_keys, all_arguments = KEYS, ARGV
local count, answers = tonumber(all_arguments[1]), {}
local key_at, argument_at = 0, 1 + 2 * count

local function take(from, at, length)
  local part = {}
  for i = 1, length do part[i] = from[at + i] end
  return part
end

for i = 1, count do
  local keys, arguments = tonumber(all_arguments[2 * i]), tonumber(all_arguments[2 * i + 1])
  local ran, answer = pcall(quick, all_keys, key_at, keys, all_arguments, argument_at)
  if ran and not answer then
    KEYS = take(all_keys, key_at, keys)
    ARGV = take(all_arguments, argument_at, arguments)
    ran, answer = pcall(one_call)
  end
  if not ran then
    answer = { '!', type(answer) == 'table' and answer.err or tostring(answer) }
  end
  answers[i], key_at, argument_at = answer, key_at + keys, argument_at + arguments
end
return answers
