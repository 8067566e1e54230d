-- Reads entries as the group's one consumer, if the epoch is still the reader's: a frozen worker
-- that wakes up late must not take entries away from the one that replaced it.
-- KEYS: epoch, readings
-- ARGV: epoch, group, consumer, count, from (`>` for new ones, an id for own pending ones)
-- Returns the entries, or 0 when the epoch is stale.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local reply = redis.call(
  'XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[2], ARGV[5])
if not reply then
  return {}
end
return reply[1][2]
