-- Prolongs a lease, also one that ran out as long as nobody else took it.
-- KEYS: lease, epoch
-- ARGV: name, instance, time to live in ms, epoch
-- Returns 1, or 0 when another holds the partition.
if redis.call('GET', KEYS[2]) ~= ARGV[4] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return 1
