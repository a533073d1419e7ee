-- lua-redis: what applications in Lua do. Usage: lua5.1 redis_lua.lua HOST PORT
local redis = require('redis')
local host, port = arg[1], tonumber(arg[2])

local function text(v)
  if type(v) ~= 'table' then return tostring(v) end
  local parts = {}
  if #v > 0 then
    for _, each in ipairs(v) do parts[#parts + 1] = text(each) end
  else
    for k, each in pairs(v) do parts[#parts + 1] = tostring(k) .. '=' .. text(each) end
    table.sort(parts)
  end
  return '[' .. table.concat(parts, ', ') .. ']'
end
local function say(what, ...)
  local parts = {}
  for i = 1, select('#', ...) do parts[i] = text((select(i, ...))) end
  print(what .. ': ' .. table.concat(parts, ', '))
end
redis.commands.client = redis.command('CLIENT')
redis.commands.nosuch = redis.command('NOSUCH')
local function connect() return redis.connect(host, port, 20) end

local r, other = connect(), connect()
r:flushall()
say('set', r:set('a', '1'), r:expire('a', 100))
say('get', r:get('a'))
say('incr', r:incr('n'), r:incrby('n', 5))
r:hmset('h', {x = 1, y = 'zwei'})
say('hgetall', r:hgetall('h'))
r:rpush('l', 'a', 'b', 'c')
say('lrange', r:lrange('l', 0, -1))
r:zadd('z', 1, 'one')
say('zrange', r:zrange('z', 0, -1, {withscores = true}))
say('missing', r:get('nothing'), r:exists('nothing'))
for _, call in ipairs({function() r:incr('l') end, function() r:nosuch('x') end}) do
  local ok, message = pcall(call)
  say('error', ok, (tostring(message):gsub('^.-redis error: ', '')))
end
local replies = r:pipeline(function(p)
  for i = 0, 99 do p:set('p:' .. i, i); p:get('p:' .. i) end
end)
say('pipeline', #replies, replies[200])
local done = r:transaction({watch = 'n', cas = true, retry = 2}, function(t)
  local n = t:get('n')
  t:multi()
  t:set('n', n + 1)
  t:get('n')
end)
say('transaction', done)
local tries = 0
r:transaction({watch = 'n', cas = true, retry = 2}, function(t)
  local n = t:get('n')
  tries = tries + 1
  if tries == 1 then other:incr('n') end
  t:multi()
  t:set('n', n + 1)
end)
say('watch', tries, r:get('n'))
local sha = r:script('load', "return redis.call('incrby', KEYS[1], ARGV[1])")
say('evalsha', r:evalsha(sha, 1, 'n', 5))
r:script('flush')
say('noscript', (pcall(function() r:evalsha(string.rep('0', 40), 0) end)))
say('eval', r:eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'v'))

local listener = connect()
for message, abort in listener:pubsub({subscribe = 'news'}) do
  say('heard', message.kind, message.channel, message.payload)
  if message.kind == 'subscribe' then other:publish('news', 'hello') else abort() end
end
other:rpush('jobs', 1, 2)
say('queue', r:blpop('jobs', 'other', 10), r:brpop('jobs', 10))
local keys, count, cursor = {}, 0, 0
repeat
  local page = r:scan(cursor, {match = 'p:*', count = 17})
  cursor = tonumber(page[1])
  for _, key in ipairs(page[2]) do if not keys[key] then keys[key] = true; count = count + 1 end end
until cursor == 0
say('scan', count)
say('kill', other:client('KILL', 'ID', r:client('ID')))
say('broken', (pcall(function() r:get('a') end)))
r = connect()
say('goes on', r:get('a'))
r:select(3)
say('another database', r:get('a'))
r:quit()
