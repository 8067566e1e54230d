-- Makes a document the site's next calibration, if nobody was faster.
-- KEYS: calibrations
-- ARGV: expected number, what is said about it, document, how many are kept, how many bytes
-- Returns whether it was published, and the current number.
local current = redis.call('HGET', KEYS[1], 'last') or '0'
if current ~= ARGV[1] then
  return {0, tonumber(current)}
end
return {1, keep(KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))}
