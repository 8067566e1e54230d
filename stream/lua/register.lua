-- Says that a worker lives, by the store's clock, and who else does.
-- KEYS: workers
-- ARGV: name, time to live in ms
-- Returns the names of those that live.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
