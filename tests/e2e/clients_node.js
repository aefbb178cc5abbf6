// POST over HTTP/2 with `expect: 100-continue`. The body waits for the event 'continue'.
// Arguments: URL, size, certificate. Prints JSON.
const { readFileSync } = require('node:fs')
const { connect } = require('node:http2')

const [url, size, certificate] = process.argv.slice(2)
const client = connect(url, certificate ? { ca: readFileSync(certificate) } : {})
const request = client.request({
  ':method': 'POST',
  ':path': '/count',
  'content-length': size,
  expect: '100-continue'
})
const seen = []
let answer = ''
request.on('continue', () => {
  seen.push('continue')
  request.end(Buffer.alloc(Number(size), 'x'))
})
request.on('response', fields => seen.push(fields[':status']))
request.on('data', piece => (answer += piece))
request.on('end', () => {
  console.log(JSON.stringify({ seen, bytes: JSON.parse(answer).bytes }))
  client.close()
})
