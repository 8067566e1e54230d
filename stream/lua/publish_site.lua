-- Makes a document the site's next version, if nobody was faster.
-- KEYS: current version, the new document's key, the oldest document's key, partitions, imported
-- ARGV: expected version, new version, document, partitions ('' leaves them), digest ('' leaves it)
-- Returns whether it was published, and the current version.
local current = redis.call('GET', KEYS[1]) or '0'
if current ~= ARGV[1] then
  return {0, tonumber(current)}
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[3])
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[4], ARGV[4], 'NX')
end
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[5], ARGV[5])
end
return {1, tonumber(ARGV[2])}
