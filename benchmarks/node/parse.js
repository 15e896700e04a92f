// Parses event streams with eventsource-parser, for benchmarks/peers.py.
//
// Standard input has one request per line, standard output one response per line, both JSON:
//   {"load": [CHUNK, ...]} -> [[event, data, id], ...], the events of the stream
//   {"time": NUMBER, "seconds": SECONDS} -> [NS, ...], the nanoseconds of each pass over the stream;
//     passes start for SECONDS, after one to warm up; at least one is timed
// A CHUNK is a string with one character per byte. Streams are numbered from 0 as they are loaded.

import { createInterface } from 'node:readline'
import { createParser } from 'eventsource-parser'

const WARM_UP_NS = 100e6

function parse(chunks) {
  const events = []
  const parser = createParser({ onEvent: (event) => events.push(event) })
  const decoder = new TextDecoder()
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }))
  parser.feed(decoder.decode())
  return events
}

// Elapsed time: process.cpuUsage() includes the compiler's and garbage collector's threads, and the
// thread's own clock may step by milliseconds. A pass is short, so few passes are interrupted by
// another program, and the median ignores those.
function time(chunks) {
  const start = process.hrtime.bigint()
  parse(chunks)
  return Number(process.hrtime.bigint() - start)
}

function turn(chunks, seconds) {
  parse(chunks)
  const passes = []
  const over = performance.now() + seconds * 1e3
  do passes.push(time(chunks))
  while (performance.now() < over)
  return passes
}

const streams = []

function load(chunks) {
  chunks = chunks.map((chunk) => new Uint8Array(Buffer.from(chunk, 'latin1')))
  streams.push(chunks)
  for (let spent = 0; spent < WARM_UP_NS; ) spent += time(chunks) // until the code is compiled
  // An event has the ID of its own block. The parser leaves the last event ID to its caller.
  let last = ''
  return parse(chunks).map(({ event, data, id }) => [event ?? 'message', data, (last = id ?? last)])
}

// No forced garbage collection between the passes: it would also discard compiled code, and make
// each pass take several times as long.
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request.load) {
    console.log(JSON.stringify(load(request.load)))
  } else {
    console.log(JSON.stringify(turn(streams[request.time], request.seconds)))
  }
}
