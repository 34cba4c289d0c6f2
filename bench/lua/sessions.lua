-- The load of one measurement, for wrk: POSTs until the last second, then silence.
--
-- In the silence every request that is under way gets its answer. So the count of answers is exact, and can be
-- compared with the rows in the database; wrk itself would just drop what is under way when its time is over.
--
-- Arguments: workload (insert, heartbeat or mixed), seconds of sending, seed, first timestamp (epoch ms), API
-- key, file with the ID of a playing session a line, directory of payloads.

local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long nanoseconds; } m3w_time;
  int clock_gettime(int clock, m3w_time *time);
]])
local CLOCK_MONOTONIC = 1
local time = ffi.new("m3w_time")

local function now_s()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local random = math.random
local format = string.format

-- Made from files, as the other load generator sends the same.
local new, playing, entry
local bad_ones = {}

-- Globals, because done() reads them by name.
created, updated, bad, entries = 0, 0, 0, 0

local head, timestamp_ms, quiet_s, deadline_s, next_body
local known, position = {}, 0

local function line_of(path)
  return assert(io.open(path)):read("*l")
end

local function uuid()
  return format("%08x-%04x-4%03x-%x%03x-%08x%04x", random(0, 0xffffffff), random(0, 0xffff), random(0, 0xfff),
    random(8, 11), random(0, 0xfff), random(0, 0xffffffff), random(0, 0xffff))
end

local function next_timestamp_ms()
  timestamp_ms = timestamp_ms + 2 -- the one between is for a second entry of the timeline
  return timestamp_ms
end

local function insert()
  created = created + 1
  return format(new, uuid(), next_timestamp_ms(), 45000)
end

-- Every session once, in random order, then all of them again in another order.
local function next_known()
  if position == #known then
    for i = #known, 2, -1 do
      local j = random(i)
      known[i], known[j] = known[j], known[i]
    end
    position = 0
  end
  position = position + 1
  return known[position]
end

local function heartbeat()
  updated = updated + 1
  local at_ms, elapsed_ms = next_timestamp_ms(), 15000 + updated
  -- The newest entry has the summary's timestamp: that is how a lost update is found out afterwards.
  local timeline = format(entry, at_ms, elapsed_ms, "PLAYING")
  entries = entries + 1
  if updated % 2 == 0 then
    timeline = format(entry, at_ms - 1, elapsed_ms - 1, "BUFFERING") .. "," .. timeline
    entries = entries + 1
  end
  return format(playing, next_known(), at_ms, elapsed_ms, timeline)
end

local function mixed()
  local dice = random(100)
  if dice == 1 then
    bad = bad + 1
    return format(bad_ones[bad % #bad_ones + 1], uuid(), next_timestamp_ms())
  end
  return dice <= 21 and insert() or heartbeat()
end

local WORKLOADS = { insert = insert, heartbeat = heartbeat, mixed = mixed }

function init(args)
  local workload, seconds, seed, first_ms, api_key, ids, payloads = unpack(args)
  new = line_of(payloads .. "/new.txt")
  playing = line_of(payloads .. "/playing.txt")
  entry = line_of(payloads .. "/entry.txt")
  for line in io.lines(payloads .. "/bad.txt") do
    bad_ones[#bad_ones + 1] = line
  end
  next_body = assert(WORKLOADS[workload], "no such workload")
  quiet_s = tonumber(seconds)
  math.randomseed(tonumber(seed))
  timestamp_ms = tonumber(first_ms)
  for id in io.lines(ids) do
    known[#known + 1] = id
  end
  position = #known
  head = format("POST /v1/sessions HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json; charset=utf-8\r\n"
    .. "X-API-Key: %s\r\nContent-Length: ", wrk.host, wrk.port, api_key)
end

local asked = false

function request()
  if not asked then
    asked = true -- wrk asks once before it starts, to see what kind of script this is, and does not send it
    return "GET /health HTTP/1.1\r\n\r\n"
  end
  local now = now_s()
  deadline_s = deadline_s or now + quiet_s
  if now >= deadline_s then
    return "GET /health HTTP/1.1\r\n" -- never finished, so that the server waits and the connection is silent
  end
  local body = next_body()
  return head .. #body .. "\r\n\r\n" .. body
end

local threads = {}

function setup(thread)
  assert(#threads == 0, "more than one thread would send the same sessions")
  threads[1] = thread
end

function done(summary, latency)
  local thread = threads[1]
  local fields = {
    answers = summary.requests,
    refused = summary.errors.status,
    broken = summary.errors.connect + summary.errors.read + summary.errors.write,
    slow = summary.errors.timeout,
    created = thread:get("created"),
    updated = thread:get("updated"),
    bad = thread:get("bad"),
    entries = thread:get("entries"),
    latency_mean_us = latency.mean,
    latency_p50_us = latency:percentile(50),
    latency_p95_us = latency:percentile(95),
    latency_p99_us = latency:percentile(99),
    latency_p999_us = latency:percentile(99.9),
    latency_max_us = latency.max,
  }
  local parts = {}
  for name, value in pairs(fields) do
    parts[#parts + 1] = format('"%s":%.1f', name, value)
  end
  io.write("\nRESULT {", table.concat(parts, ","), "}\n")
end
