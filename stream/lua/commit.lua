-- Makes a worker's step final, all of it or nothing.
-- KEYS: epoch, step, state, summary, readings, fixes, events
-- ARGV: epoch, step, state, summary, group, id before which fixes are dropped,
--       how many events are kept, last id read, how long acknowledged readings are kept in ms,
--       how many of them are kept, then
--       n, n times (id, fixes); n, n times event; n, n times acknowledged id
-- Returns {'ok'}, or what is wrong and what the store holds: {'epoch', e}, {'step', s},
-- {'tick', id}.
local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then
  return {'epoch', epoch or ''}
end
local step = redis.call('GET', KEYS[2]) or '0'
if tonumber(step) + 1 ~= tonumber(ARGV[2]) then
  return {'step', step}
end

-- Fixes come first: the stream itself refuses an id that is not above its last, and then
-- nothing has been written yet. Their ids ascend, so only the first can be refused.
local at = 11
for _ = 1, tonumber(ARGV[at]) do
  local id = ARGV[at + 1]
  local added = redis.pcall('XADD', KEYS[6], id, 'f', ARGV[at + 2])
  if type(added) == 'table' and added.err then
    return {'tick', id}
  end
  at = at + 2
end
if ARGV[6] ~= '' then
  redis.call('XTRIM', KEYS[6], 'MINID', '~', ARGV[6])
end
at = at + 1
local events = tonumber(ARGV[at])
for i = 1, events do
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[7], '*', 'e', ARGV[at + i])
end
at = at + events + 1
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('SET', KEYS[4], ARGV[4])

-- Lua's unpack has a limit, so ids are acknowledged in chunks.
local last = at + tonumber(ARGV[at])
for first = at + 1, last, 1000 do
  redis.call('XACK', KEYS[5], ARGV[5], unpack(ARGV, first, math.min(first + 999, last)))
end

-- Below `floor` everything is acknowledged. Of that a short tail is kept, by time and by number.
local pending = redis.call('XPENDING', KEYS[5], ARGV[5])
local floor = ARGV[8]
if pending[1] > 0 then
  floor = pending[2]
end
local keep_from = tonumber(string.match(floor, '^%d+')) - tonumber(ARGV[9])
if keep_from > 0 then
  redis.call('XTRIM', KEYS[5], 'MINID', '~', string.format('%.0f', keep_from))
end
local excess = redis.call('XLEN', KEYS[5]) - pending[1] - tonumber(ARGV[10])
if excess > 0 then
  redis.call('XTRIM', KEYS[5], 'MINID', '~', floor, 'LIMIT', excess)
end
return {'ok'}
