local answer = quick(KEYS, 0, #KEYS, ARGV, 0)
if answer then return answer end
