-- Takes a partition's lease and raises its epoch, so that whoever held it before cannot write.
-- KEYS: lease, epoch, readings
-- ARGV: name, instance, time to live in ms, '1' to take it from another instance of the name,
--       group
-- Returns the new epoch, or 0 and the holder.
local mine = ARGV[1] .. ' ' .. ARGV[2]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= mine then
  local same_name = string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. ' '
  if not (same_name and ARGV[4] == '1') then
    return {0, holder}
  end
end
-- A store that lost its data has lost the group too.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[5], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  return made
end
redis.call('SET', KEYS[1], mine, 'PX', ARGV[3])
return {redis.call('INCR', KEYS[2]), mine}
