// Close each usual client with each close code, and print as JSON whether the client "returns" or "stays away".
//
// Arguments: the codes. 1006 ends the connection without a close frame, and 403 refuses the handshake.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import WebSocket, { WebSocketServer } from 'ws'
import { WebsocketProvider as Version2 } from 'y-websocket-2'
import { WebsocketProvider as Version3 } from 'y-websocket'
import * as Y from 'yjs'

// Each function connects a client, and calls `stays` when the client gives up. y-websocket 2 never gives up.
const CLIENTS = {
  'y-websocket 3' (url, stays) {
    const provider = new Version3(url, 'canvas', new Y.Doc(), { WebSocketPolyfill: WebSocket, disableBc: true })
    provider.on('closed', stays)
  },
  'y-websocket 2' (url) {
    new Version2(url, 'canvas', new Y.Doc(), { WebSocketPolyfill: WebSocket, disableBc: true }).connect()
  },
  'hocuspocus 4' (url, stays) {
    const socket = { url, WebSocketPolyfill: WebSocket, delay: 50, minDelay: 50 }
    const websocketProvider = new HocuspocusProviderWebsocket(socket)
    new HocuspocusProvider({ websocketProvider, name: 'canvas', onAuthenticationFailed: stays }).attach()
  }
}

function outcome (client, code) {
  return new Promise(resolve => {
    let attempts = 0
    const server = new WebSocketServer({
      port: 0,
      host: '127.0.0.1',
      verifyClient: (_, accept) => {
        attempts++
        if (attempts > 1) resolve('returns')
        accept(code !== 403, 403)
      }
    })
    // The connection is open for the client when its first message arrives.
    server.on('connection', socket => {
      socket.once('message', () => { code === 1006 ? socket.terminate() : socket.close(code, 'reason') })
    })
    server.on('listening', () => {
      client(`ws://127.0.0.1:${server.address().port}`, () => resolve('stays away'))
    })
  })
}

process.setMaxListeners(0)
const results = {}
await Promise.all(process.argv.slice(2).flatMap(code => Object.entries(CLIENTS).map(async ([name, client]) => {
  (results[name] ??= {})[code] = await outcome(client, Number(code))
})))
process.stdout.write(JSON.stringify(results), () => process.exit(0))
