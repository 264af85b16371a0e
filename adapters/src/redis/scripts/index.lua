-- Read before anything is written, so that an index of the wrong type ends the script there. Once:
-- what was sound stays so for as long as the script runs.
local sound = {}
local function check_index(index)
  if sound[index] then return end
  call('ZCARD', index)
  sound[index] = true
end
