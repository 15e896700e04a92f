// Parses event streams with eventsource-parser, as benchmarks/peers.py asks for it.
//
// One JSON text a line, both ways:
//   {"load": [CHUNK, ...]} -> [[event, data, id], ...], what is in the stream
//   {"time": NUMBER, "seconds": SECONDS} -> [NS, ...], the nanoseconds of each pass over the stream
//     that begins within the time, after one to warm up; one in any case
// The bytes of a CHUNK are the characters of a string. Streams are numbered from 0 as they come.

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

// As it passes: the CPU's time is told for the process, with the threads that help to compile and
// to collect garbage, or for this thread, which may move by milliseconds. A pass is short, so the
// median is of passes that no other program has interrupted.
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
  for (let spent = 0; spent < WARM_UP_NS; ) spent += time(chunks) // or the compiler is timed
  // An event has the ID of its own block: keeping the last one is left to who uses the parser.
  let last = ''
  return parse(chunks).map(({ event, data, id }) => [event ?? 'message', data, (last = id ?? last)])
}

// No garbage is collected between the passes: that would also discard what the compiler has learnt,
// and make each pass take several times as long.
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request.load) {
    console.log(JSON.stringify(load(request.load)))
  } else {
    console.log(JSON.stringify(turn(streams[request.time], request.seconds)))
  }
}
