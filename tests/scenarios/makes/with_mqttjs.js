// Does what its one argument says as a client built with MQTT.js: the keys are those that `driver.rs` writes.
//
// It prints `subscribed` when that is acknowledged and `message QOS RETAINED TOPIC PAYLOAD` for each one received, and says goodbye when
// its work is done. A refusal goes to standard error.
'use strict'

const mqtt = require('mqtt')

const task = JSON.parse(process.argv[2])
const { publish, receive } = task
let left = receive ? receive.count : 0

const client = mqtt.connect({
  host: '127.0.0.1',
  port: task.port,
  protocolVersion: task.version,
  clientId: task.id,
  username: task.user,
  password: task.password,
  clean: !task.lasting,
  properties: task.version === 5 ? { sessionExpiryInterval: task.lasting ? 3600 : 0 } : undefined,
  will: task.will ? { ...task.will, qos: 1 } : undefined,
  reconnectPeriod: 0,
})

function fail(error) {
  console.error(error.message)
  process.exit(1)
}

client.on('error', fail)
client.on('connect', () => {
  if (publish) {
    const { qos, retain } = publish
    client.publish(publish.topic, publish.payload, { qos, retain }, (error) => (error ? fail(error) : client.end()))
    return
  }
  client.subscribe(receive.filter, { qos: receive.qos }, (error) => {
    if (error) fail(error)
    console.log('subscribed')
    if (receive.count === 0) client.end()
  })
})
client.on('message', (topic, payload, { qos, retain }) => {
  console.log(`message ${qos} ${Number(retain)} ${topic} ${payload}`)
  left -= 1
  // Not at once: MQTT.js acknowledges a message after the listener that has it.
  if (left === 0) setImmediate(() => client.end())
})
