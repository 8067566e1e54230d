-- Shared by the scripts that write calibrations; put in front of them (stream.connection.Script).
-- Appends a document to a slot's calibrations and drops the oldest: more than `versions` of them,
-- or more than `bytes` of documents. The new one always stays. Returns its number.
local function keep(key, about, document, versions, bytes)
  local number = redis.call('HINCRBY', key, 'last', 1)
  redis.call('HSET', key, number, document, number .. ':about', about)
  local total = 0
  local old = number
  while old > 0 do
    local size = redis.call('HSTRLEN', key, old)
    if size == 0 then
      break
    end
    total = total + size
    if old < number and (number - old >= versions or total > bytes) then
      redis.call('HDEL', key, old, old .. ':about')
    end
    old = old - 1
  end
  return number
end
