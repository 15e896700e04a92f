// A server of better-sse with a topic for each path: POST publishes, GET follows.
//
// It writes its port to the output, and ends when its input does.

import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { createChannel, createSession } from 'better-sse'

const topics = new Map()

function topicOf(url) {
  if (!topics.has(url)) topics.set(url, { events: [], channel: createChannel() })
  return topics.get(url)
}

async function publish(request, { events, channel }) {
  const event = { type: request.headers['x-eventsource-event'], data: await text(request) }
  const number = events.push(event)
  channel.broadcast(event.data, event.type, { eventId: `№${number}` })
}

async function follow(request, response, { events, channel }) {
  const session = await createSession(request, response, { retry: null, keepAlive: 50 })
  // Node takes the bytes of a header for Latin-1.
  const lastId = Buffer.from(session.lastId, 'latin1').toString()
  for (let number = Number(lastId.slice(1)); number < events.length; number++) {
    const { type, data } = events[number]
    session.push(data, type, `№${number + 1}`)
  }
  channel.register(session)
}

const server = createServer(async (request, response) => {
  const topic = topicOf(request.url)
  if (request.method === 'GET') {
    await follow(request, response, topic)
  } else {
    await publish(request, topic)
    response.end()
  }
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit())
