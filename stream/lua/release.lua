-- Gives a lease back, so that another can take it at once.
-- KEYS: lease, epoch
-- ARGV: epoch
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
