-- Makes a worker's step final, all of it or nothing.
-- After keep.lua.
-- KEYS: epoch, step, state, summary, readings, fixes, events, calibrations
-- ARGV: epoch, step, state, summary, group, id before which fixes are dropped,
--       how many events are kept, last id read, how long acknowledged readings are kept in ms,
--       how many of them are kept, the site's calibration taken last, how many own fits are
--       kept, how many bytes of them, '1' when the engine is new, then
--       n, n times (id, fixes); n, n times event; n, n times acknowledged id;
--       n, n times (what is said about a fit, its document)
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
local at = 15
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
at = last + 1

-- What the engine fitted itself is kept for people; the state alone says what is in use.
redis.call('HSET', KEYS[8], 'site', ARGV[11])
if ARGV[14] == '1' then
  redis.call('HSET', KEYS[8], 'dropped', redis.call('HGET', KEYS[8], 'last') or '0')
end
for i = 1, tonumber(ARGV[at]) do
  keep(KEYS[8], ARGV[at + 2 * i - 1], ARGV[at + 2 * i], tonumber(ARGV[12]), tonumber(ARGV[13]))
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
