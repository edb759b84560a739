-- The circuit of a model, as circuit.go has it, on the hash KEYS[1]. ARGV: what to do (admit, settle, look), the moment in
-- microseconds or 0 for the server's own clock, and then numbers by position. Durations are in microseconds.
-- Answers: reason, state, epoch, wait, until, changed.
local fields = {
  'until', 'probe', 'epoch', 'failures', 'failed_at', 'pauses', 'closed_at', 'requests', 'tokens', 'line_bulk', 'line_interactive',
}
local c = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do c[fields[i]] = tonumber(value or 0) or 0 end

local now = tonumber(ARGV[2])
if now == 0 then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function arg(n) return tonumber(ARGV[n + 2]) end

local ADMITTED, OPEN, PROBED, REQUESTS, TOKENS = 0, 1, 2, 3, 4
local ANSWERED, THROTTLED, FAILED = 1, 2, 3

local function save()
  local values = {}
  for _, name in ipairs(fields) do
    values[#values + 1] = name
    values[#values + 1] = string.format('%.0f', c[name])
  end
  redis.call('HSET', KEYS[1], unpack(values))
  redis.call('PEXPIRE', KEYS[1], 7200000)
end

local function say(why, wait, changed)
  local state, ends = 0, 0
  if c['until'] > 0 then
    ends = c['until'] - now
    state = ends > 0 and 2 or 1
  end
  return { why, state, c.epoch, wait, ends, changed and 1 or 0 }
end

-- The place in a line (0 for none, 1 bulk, 2 interactive), which may reach so far.
local function place(ready, line, gap, reach)
  local at = ready
  if line > 0 then
    local name = line == 1 and 'line_bulk' or 'line_interactive'
    at = math.min(math.max(ready, c[name]), ready + reach)
    c[name] = at + gap
    save()
  end
  return at - now
end

if ARGV[1] == 'look' then return say(ADMITTED, 0) end

if ARGV[1] == 'admit' then
  local request_cost, request_room, token_cost, token_room = arg(1), arg(2), arg(3), arg(4)
  local line, gap, reach, probe_for, probe_again = arg(5), arg(6), arg(7), arg(8), arg(9)
  if now < c['until'] then return say(OPEN, place(c['until'], line, gap, reach)) end
  if c['until'] > 0 and now < c.probe then return say(PROBED, place(now + probe_again, line, gap, reach)) end
  local why, ready = ADMITTED, now
  local requests, tokens = math.max(c.requests, now), math.max(c.tokens, now)
  if request_cost > 0 and requests + request_cost - request_room > ready then
    why, ready = REQUESTS, requests + request_cost - request_room
  end
  if token_cost > 0 then
    local at = tokens + math.min(token_cost, token_room) - token_room
    if at > ready then why, ready = TOKENS, at end
  end
  if why ~= ADMITTED then return say(why, place(ready, line, gap, reach)) end
  if request_cost > 0 then c.requests = requests + request_cost end
  if token_cost > 0 then c.tokens = tokens + token_cost end
  if c['until'] > 0 then c.probe = now + probe_for end
  -- A call that takes nothing and finds out nothing leaves no trace.
  if request_cost > 0 or token_cost > 0 or c['until'] > 0 then save() end
  return say(ADMITTED, 0)
end

local outcome, epoch, spent, asked, jitter = arg(1), arg(2), arg(3), arg(4), arg(5)
local line, gap, reach = arg(6), arg(7), arg(8)
local threshold, steady, pause_min, pause_max = arg(9), arg(10), arg(11), arg(12)

local function open()
  if c['until'] == 0 and now - c.closed_at > steady then c.pauses = 0 end
  local pause = asked
  if pause == 0 then
    pause = math.floor(math.min(pause_max, pause_min * 2 ^ math.min(c.pauses, 10)) * jitter / 1000)
  end
  c.pauses = c.pauses + 1
  c['until'], c.probe, c.failures = now + pause, 0, 0
  c.epoch = c.epoch + 1
end

local before, dirty = c.epoch, true
if c.tokens ~= 0 then c.tokens = c.tokens + spent end
if epoch ~= c.epoch then
  if outcome == THROTTLED and asked > 0 and c['until'] > 0 then c['until'] = math.max(c['until'], now + asked) end
elseif outcome == THROTTLED or (outcome == FAILED and c['until'] > 0) then
  open()
elseif outcome == FAILED then
  if now - c.failed_at > steady then c.failures = 0 end
  c.failures = c.failures + 1
  c.failed_at = now
  if c.failures >= threshold then open() end
elseif outcome == ANSWERED and c['until'] > 0 then
  c['until'], c.probe, c.failures, c.closed_at = 0, 0, 0, now
  c.epoch = c.epoch + 1
elseif outcome == ANSWERED then
  dirty = c.failures ~= 0 or (c.tokens ~= 0 and spent ~= 0)
  c.failures = 0
else
  dirty = c.probe ~= 0 or (c.tokens ~= 0 and spent ~= 0)
  c.probe = 0
end
if dirty then save() end
if outcome >= THROTTLED and now < c['until'] then
  return say(OPEN, place(c['until'], line, gap, reach), c.epoch ~= before)
end
return say(ADMITTED, 0, c.epoch ~= before)
