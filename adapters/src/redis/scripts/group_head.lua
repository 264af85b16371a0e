-- Several calls of one script in one. All that follows reads KEYS and ARGV, which from here on are
-- those of one call at a time; the usual cases find theirs in the lists of all.
local KEYS, ARGV = KEYS, ARGV
