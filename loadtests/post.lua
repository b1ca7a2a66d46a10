-- wrk: POST the bodies in turn; print one JSON line at the end.
-- arguments after `--`: media type, extra header ("Name: value", or "-" for none), files with the bodies
local wires, turn = {}, 0

function init(arguments)
   local headers = { ["Content-Type"] = arguments[1] }
   if arguments[2] ~= "-" then
      local name, value = arguments[2]:match("^([^:]+): *(.+)$")
      headers[name] = value
   end
   for i = 3, #arguments do
      local file = assert(io.open(arguments[i], "rb"))
      wires[#wires + 1] = wrk.format("POST", nil, headers, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #wires + 1
   return wires[turn]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "p50_us": %.0f, "p99_us": %.0f, "max_us": %.0f, ' ..
      '"bad_status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
