// One person at a canvas: a Y.Doc and y-websocket's provider.
import * as decoding from 'lib0/decoding'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { digest } from './digest.mjs'
import { Painter } from './drawing.mjs'
import { countingSocket } from './socket.mjs'

// Our own message type: how many of this connection's document messages are committed.
const SAVED = 100
// A client that reconnects for ever must not remember for ever.
const MOST_CLOSES = 100

export class Client {
  constructor (name, { url, room, params = {}, protocols = [], awareness, tab = false, doc = new Y.Doc() }, changed, report) {
    this.name = name
    this.doc = doc
    this.changed = changed
    this.connections = 0
    this.closes = []
    this.gaveUp = null
    this.updates = 0
    this.version = 0
    this.edits = 0
    // Milliseconds from the end of a connection until the document was in step with the server again.
    this.longestPause = 0
    this.lostAt = null
    this.traffic = null
    this.provider = new WebsocketProvider(url, room, doc, {
      connect: false,
      params,
      protocols,
      // Tabs of one browser: their BroadcastChannel carries edits and awareness past the server.
      disableBc: !tab,
      WebSocketPolyfill: countingSocket(traffic => { this.traffic = traffic }, changed)
    })
    this.listen(report)
    if (awareness !== undefined) this.provider.awareness.setLocalState(awareness)
    this.provider.connect()
  }

  listen (report) {
    const { provider, doc } = this
    provider.messageHandlers[SAVED] = (_encoder, decoder) => {
      this.traffic.saved = decoding.readVarUint(decoder)
    }
    doc.on('update', (_update, origin) => {
      this.version++
      if (origin === provider) this.updates++
      this.changed()
    })
    provider.awareness.on('change', this.changed)
    provider.on('sync', synced => {
      if (synced && this.lostAt !== null) {
        this.longestPause = Math.max(this.longestPause, performance.now() - this.lostAt)
        this.lostAt = null
      }
      this.changed()
    })
    provider.on('status', ({ status }) => {
      if (status === 'connected') this.connections++
      report({ event: 'status', client: this.name, status })
      this.changed()
    })
    provider.on('connection-close', event => {
      this.lostAt ??= performance.now()
      // No event: this side ended it.
      const close = event === null ? { code: null, reason: '' } : { code: event.code, reason: event.reason }
      this.closes = [...this.closes, close].slice(-MOST_CLOSES)
      report({ event: 'close', client: this.name, ...close })
      this.changed()
    })
    provider.on('closed', close => {
      this.gaveUp = close
      this.changed()
    })
  }

  get synced () {
    return this.provider.wsconnected && this.provider.synced
  }

  // Everything this client ever did to its document is committed.
  get saved () {
    const { synced, traffic } = this
    return synced && traffic.answered && traffic.saved === traffic.documents
  }

  // Computed once for each state of the document.
  digest () {
    if (this.digested?.version !== this.version) {
      this.digested = { version: this.version, value: digest(this.doc) }
    }
    return this.digested.value
  }

  present () {
    return [...this.provider.awareness.getStates().values()]
  }

  draw (settings) {
    this.rest()
    this.painter = new Painter(this.name, this.doc, settings, () => {
      this.edits++
      this.changed()
    })
  }

  rest () {
    this.painter?.stop()
  }

  // The connection breaks without a word; the provider comes back by itself.
  drop () {
    this.provider.ws?.terminate()
  }

  // The same, and it does not come back.
  vanish () {
    this.rest()
    this.provider.shouldConnect = false
    this.drop()
  }

  destroy () {
    this.rest()
    this.provider.destroy()
    this.doc.destroy()
  }

  status () {
    const { name, connections, closes, gaveUp, updates, edits, longestPause, traffic, provider } = this
    return {
      name,
      connected: provider.wsconnected,
      synced: this.synced,
      connections,
      closes,
      gave_up: gaveUp,
      updates,
      edits,
      longest_pause: longestPause,
      received: traffic?.received ?? {},
      documents: traffic?.documents ?? 0,
      saved: traffic?.saved ?? null,
      present: this.present().length
    }
  }
}
